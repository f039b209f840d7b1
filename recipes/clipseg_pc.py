"""CLIPSeg as the paper trains it on plain PhraseCut ("CLIPSeg (PC)"): texts alone, D = 64, 352 px.

Command:   promptseg train recipes/clipseg_pc.py --data DIR --out runs/clipseg-pc
           (--data: VGPhraseCut_v0 or the folder that holds it; docs/data.md names the source)
Hardware:  one GPU of 16 GB; CLIP's weights come from the model hub (0.6 GB, fetched the first time)
Expected:  published, PhraseCut test, threshold .3: mIoU 46.1, IoU_FG 56.2, AP 78.2. Not reproduced by us: neither the
           data set nor CLIP's weights were available.
Then:      promptseg evaluate-benchmark phrasecut --data DIR --model runs/clipseg-pc/final

As published (the paper's appendix, and experiments/phrasecut.yaml, training.py and datasets/phrasecut.py of
timojl/clipseg @ 77c4e2d): 20,000 iterations of 64; AdamW, learning rate 1e-3 to 1e-4 by a cosine without warm-up,
weight decay 1e-2 (PyTorch's own); binary cross-entropy; float16 with loss scaling; 352 px; CLIP ViT-B/16, blocks 3, 7
and 9; the prompt drawn from nine templates ("shuffle+"); square crops that show the object; no clipping. `final` is the
published model, the last one: there nothing is validated.

Ours: items are shuffled (the published loader reads them in the order of the file), biases and norms don't decay,
and masks are brought to 352 px by the share that they cover. Every 2,000 steps 512 phrases of "miniv" in the first
template validate the model; `best` is kept beside `final`.
"""

from functools import partial

from promptseg.data.phrasecut import read_phrasecut
from promptseg.models.clipseg.config import ClipSegConfig
from promptseg.models.registry import find_row
from promptseg.train.conditional import ConditionalTraining
from promptseg.train.config import TrainConfig
from promptseg.train.phrasecut_plus import PROMPT_TEMPLATES, PlusOptions
from promptseg.train.recipe import Recipe

MODEL = find_row("clipseg-rd64").config
assert isinstance(MODEL, ClipSegConfig)  # the row of the paper's model
TRAINING = ConditionalTraining(
    model=MODEL,
    config=TrainConfig(
        steps=20_000,
        batch_size=64,
        learning_rate=1e-3,
        final_lr_ratio=0.1,
        weight_decay=1e-2,
        clip_norm=1e9,
        precision="16-mixed",
        evaluate_every=2_000,
        num_workers=4,
    ),
    read_train=partial(read_phrasecut, split="train"),
    read_validation=partial(read_phrasecut, split="miniv"),
    questions=PlusOptions(negative_share=0.0, exemplars=False, templates=PROMPT_TEMPLATES, crops=True),
)


def recipe() -> Recipe:
    """Return the recipe that `promptseg train` runs."""
    return TRAINING.recipe()
