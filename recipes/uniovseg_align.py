"""The second stage of Uni-OVSeg (arXiv:2402.08960): regions get the names in captions, from image-text pairs.

Command:   promptseg train recipes/uniovseg_align.py --data pairs --out runs/uniovseg --init runs/uniovseg-masks/best \
--devices 8
           (--data: a folder of image-text pairs, see docs/uniovseg.md: .tsv, webdataset .tar or .jsonl with captions;
           entities.jsonl and captions.jsonl beside them, made by a language model, are used where they are)
Hardware:  published: as the first stage, 56 V100 with 32 GB.
Expected:  published: COCO PQ 13.2 to 18.0 and mIoU 33.2 to 42.7, of which the parser gives .9 and 1.3, refined captions
           1.5 and 2.8, entities of a language model .6 and 3.1, two scales 1.8 and 2.3. Not reproduced by us: the
           pairs were not published. recipes' tests run 20 steps on drawn images with a tiny model, whose loss falls.

As published: 1.3 M image-text pairs; costs averaged over 896 and 1024 px; bipartite matching; cosine loss; "the same
recipe" as the first stage, of which this repeats the numbers. The adapter alone is trained. Ours: the surest quarter of
a batch's pairs is kept (`AlignSettings.confident_share`; 1 is the paper's).
"""

from pathlib import Path

from promptseg.data.image_text import (
    CAPTIONS_FILE,
    ENTITIES_FILE,
    ImageTexts,
    find_image_texts,
    load_captions,
    load_entities,
)
from promptseg.train.config import TrainConfig
from promptseg.train.recipe import Recipe
from promptseg.train.unpaired.align_training import AlignTraining, CaptionedImages

VALIDATION_SHARE = 100
NUM_VALIDATION = 200


def read(data_dir: Path, pseudo_dir: Path | None) -> CaptionedImages:
    """Find the pairs and hold out some images; pseudo-masks are not used."""
    images = find_image_texts(data_dir)
    if (data_dir / CAPTIONS_FILE).is_file():
        images = images.with_captions(load_captions(data_dir / CAPTIONS_FILE))
    entities = load_entities(data_dir / ENTITIES_FILE) if (data_dir / ENTITIES_FILE).is_file() else {}
    held_out = images.pairs[::VALIDATION_SHARE]
    train = tuple(pair for index, pair in enumerate(images.pairs) if index % VALIDATION_SHARE)
    return CaptionedImages(ImageTexts(train), ImageTexts(held_out[:NUM_VALIDATION]), entities)


TRAINING = AlignTraining(
    config=TrainConfig(
        steps=60_000,
        batch_size=56,
        learning_rate=1e-4,
        weight_decay=0.05,
        lr_drops=(0.85, 0.95),
        clip_norm=1.0,
        precision="16-mixed",
        metric="cosine",
        evaluate_every=5000,
        checkpoint_every=1000,
        log_every=20,
        seed=42,
        num_workers=4,
    ),
    read=read,
)


def recipe() -> Recipe:
    """Return the recipe that `promptseg train` runs."""
    return TRAINING.recipe()
