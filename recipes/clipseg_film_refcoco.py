"""CLIPSeg-FiLM (S2): CLIP ViT-B/16 frozen, one linear layer to 14 x 14 cells, trained on RefCOCO's sentences.

Command:   promptseg train recipes/clipseg_film_refcoco.py --data DIR --out runs/clipseg-film
           (--data: the folder with refcoco/ and COCO's train2014 images; docs/data.md names the sources)
Hardware:  one GPU of 8 GB; CLIP's weights come from the model hub (0.6 GB, fetched the first time)
Expected:  published: Dice 56.56 % on RefCOCO val. Not reproduced by us: neither the data nor CLIP's weights were
           available.
Then:      promptseg evaluate-benchmark refcoco --data DIR --model runs/clipseg-film/best

As published: binary cross-entropy with logits on the 224 x 224 mask that is interpolated from 14 x 14; Adam, learning
rate 1e-3 (AdamW without decay is Adam).

Ours, where the report gives no details: 10 epochs of batches of 32, a constant learning rate, the "unc" split, each
sentence as it is, of the whole image; float32; validation after each epoch, `best` by mean IoU.
"""

from functools import partial

from promptseg.data.refcoco import read_refcoco
from promptseg.models.clipseg.config import ClipSegConfig
from promptseg.models.registry import find_row
from promptseg.train.conditional import ConditionalTraining
from promptseg.train.config import TrainConfig
from promptseg.train.phrasecut_plus import PlusOptions
from promptseg.train.recipe import Recipe

MODEL = find_row("clipseg-film").config
assert isinstance(MODEL, ClipSegConfig)  # the row of the report's model
TRAINING = ConditionalTraining(
    model=MODEL,
    config=TrainConfig(
        epochs=10,
        batch_size=32,
        learning_rate=1e-3,
        final_lr_ratio=1.0,
        weight_decay=0.0,
        clip_norm=1e9,
        num_workers=4,
    ),
    read_train=partial(read_refcoco, dataset="refcoco", split_by="unc", split="train"),
    read_validation=partial(read_refcoco, dataset="refcoco", split_by="unc", split="val"),
    questions=PlusOptions(negative_share=0.0, exemplars=False, templates=("{}",), crops=False),
)


def recipe() -> Recipe:
    """Return the recipe that `promptseg train` runs."""
    return TRAINING.recipe()
