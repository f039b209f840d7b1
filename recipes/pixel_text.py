"""The architecture of the default model, trained on a folder of images and masks from its pretrained towers.

Command:   promptseg train recipes/pixel_text.py --data DIR --out runs/mine
           (--data: a folder with images/ and masks/PHRASE/, see docs/data.md; a black mask is an absent name)
Hardware:  two CPU cores (about 2 s a step on one of them); any GPU with 8 GB
Expected:  not run on a public data set; a small folder is better served by `promptseg finetune`
Then:      calibrate presence and the mask threshold: docs/training.md, "Calibration"

One image in `VALIDATION_SHARE` is held out for validation and calibration. The numbers are those of the shipped
checkpoint (lab/recipe.py).
"""

from pathlib import Path

from promptseg.data.folder import read_folder
from promptseg.data.sample import Sample
from promptseg.train.config import TrainConfig
from promptseg.train.finetune import label_as_names
from promptseg.train.pixel_text.training import PixelTextTraining
from promptseg.train.recipe import Recipe

VALIDATION_SHARE = 12


def read(data_dir: Path, pseudo_dir: Path | None) -> tuple[list[Sample], list[Sample]]:
    """Read the folder and hold out some images; pseudo-masks are not used."""
    samples = label_as_names(read_folder(data_dir).samples)
    train = [sample for index, sample in enumerate(samples) if index % VALIDATION_SHARE]
    return train, samples[::VALIDATION_SHARE]


TRAINING = PixelTextTraining(
    config=TrainConfig(
        steps=2000,
        batch_size=8,
        learning_rate=1e-3,
        lr_multipliers={"image_tower": 0.2, "dense.log_scale": 5.0, "dense.bias": 5.0},
        betas=(0.9, 0.99),
        weight_decay=0.02,
        warmup_epochs=0.03,
        final_lr_ratio=0.02,
        clip_norm=3.0,
        precision="bf16-mixed",
        ema_decay=0.998,
        evaluate_every=250,
        checkpoint_every=50,
        log_every=10,
        num_workers=1,
    ),
    read=read,
)


def recipe() -> Recipe:
    """Return the recipe that `promptseg train` runs."""
    return TRAINING.recipe()
