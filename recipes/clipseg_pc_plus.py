"""CLIPSeg's universal model ("CLIPSeg (PC+)") and the ablations of the paper's Table 9: texts, examples, mixtures.

Command:   promptseg train recipes/clipseg_pc_plus.py --data DIR --out runs/clipseg-pc-plus
           promptseg train recipes/clipseg_pc_plus.py:no-visual --data DIR --out runs/no-visual
           (--data: VGPhraseCut_v0 or the folder that holds it; docs/data.md names the source)
Hardware:  one GPU of 16 GB; CLIP's weights come from the model hub (0.6 GB, fetched the first time)
Expected:  published, PhraseCut test (mIoU/AP, the best threshold):
                         text        visual                          text        visual
             PC+         43.6/76.7   25.4/55.6      d16              37.4/71.5   24.7/51.2
             no-clip     13.1/12.6   12.7/-         layer-3          31.9/64.9   21.5/48.6
             no-visual   46.4/77.8   14.4/31.0      highlight        43.4/75.4   23.3/43.8
           Not reproduced by us: neither the data set nor CLIP's weights were available.
Then:      promptseg evaluate-benchmark phrasecut --data DIR --model runs/clipseg-pc-plus/final

As published (experiments/phrasecut.yaml and ablation.yaml, training.py, datasets/phrasecut.py of timojl/clipseg
@ 77c4e2d): as recipes/clipseg_pc.py, and: a fifth of the phrases are foreign to their image; an example of the phrase
from another image, where there is one, cropped to the object, blurred and darkened around it; the vector is
a * text + (1 - a) * example with a drawn evenly from 0 to .5 (in the paper "sampled uniformly", the published
configurations set mix_text_max to .5); the text alone where there is no example.

Ours, besides what recipes/clipseg_pc.py names: a foreign phrase is never one that an annotated phrase of the image
implies, and an example is never the image itself. `no-clip` has both towers random and frozen, learning rate 3e-4 (as
published: "not_pretrained"; the published code for it is not in that commit).
"""

from dataclasses import replace
from functools import partial

from promptseg.data.phrasecut import read_phrasecut
from promptseg.errors import RecipeError
from promptseg.models.clipseg.config import ClipSegConfig
from promptseg.models.registry import find_row
from promptseg.train.conditional import ConditionalTraining
from promptseg.train.config import TrainConfig
from promptseg.train.phrasecut_plus import PROMPT_TEMPLATES, PlusOptions
from promptseg.train.recipe import Recipe

MODEL = find_row("clipseg-rd64").config
assert isinstance(MODEL, ClipSegConfig)  # the row of the paper's model
CONFIG = TrainConfig(
    steps=20_000,
    batch_size=64,
    learning_rate=1e-3,
    final_lr_ratio=0.1,
    weight_decay=1e-2,
    clip_norm=1e9,
    precision="16-mixed",
    evaluate_every=2_000,
    num_workers=4,
)
QUESTIONS = PlusOptions(negative_share=0.2, exemplars=True, templates=PROMPT_TEMPLATES, crops=True)
TRAINING = ConditionalTraining(
    model=MODEL,
    config=CONFIG,
    read_train=partial(read_phrasecut, split="train"),
    read_validation=partial(read_phrasecut, split="miniv"),
    questions=QUESTIONS,
    text_shares=(0.0, 0.5),
)
ABLATIONS = {
    "no-clip": replace(
        TRAINING,
        pretrained=False,
        model=replace(MODEL, towers="stored"),
        config=replace(CONFIG, learning_rate=3e-4, final_lr_ratio=1e-4 / 3e-4),
    ),
    "no-visual": replace(TRAINING, questions=replace(QUESTIONS, exemplars=False)),
    "d16": replace(TRAINING, model=replace(MODEL, dim=16)),
    "layer-3": replace(TRAINING, model=replace(MODEL, image_layers=(3,))),
    "highlight": replace(TRAINING, model=replace(MODEL, visual_prompt="highlight")),
}


def recipe(variant: str | None = None) -> Recipe:
    """Return the recipe that `promptseg train` runs; a variant is a name in `ABLATIONS`."""
    if variant is None:
        return TRAINING.recipe()
    if variant not in ABLATIONS:
        raise RecipeError(f"no ablation is called {variant!r}; there are {', '.join(ABLATIONS)}")
    return ABLATIONS[variant].recipe()
