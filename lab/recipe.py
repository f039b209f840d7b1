"""The recipe of the shipped checkpoint: EfficientNet-Lite2 and YOLOX-Nano, MiniLM, and the pixel-text head.

Command:   python -m lab.train --data DIR --pseudo DIR --out runs/promptseg
Data:      this project's JSONL indexes (docs/data.md describes the format), and the masks that
           `promptseg pseudo-masks` makes for them
Hardware:  two CPU cores (about 2 s a step on one of them); any GPU with 8 GB
Expected:  lab/experiments.md has the curve and the figures of the shipped run
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from promptseg.data.jsonl import PseudoMasks, load_pseudo_mask_folder
from promptseg.data.sample import Sample
from promptseg.language.class_names import COCO_THINGS
from promptseg.train.config import TrainConfig
from promptseg.train.pixel_text.training import PixelTextTraining
from promptseg.train.recipe import Recipe

# Relative probability of an image of each set.
SET_WEIGHTS = {
    "coco_train": 6.0, "coco_boxes": 2.0, "coco_train2017_street": 1.0, "voc_samples": 1.0, "coco_tiny300_mlperf": 0.6,
    "clothes_train": 1.2, "carparts_train": 1.6, "camvid_train": 0.6, "faces_train": 0.8, "pedestrians_train": 0.4,
    "people_train": 0.5, "food_train": 0.5, "crops_train": 0.3, "animals7": 0.8, "dogs_cats": 1.0, "savanna": 0.6,
    "raccoon": 0.4, "kangaroo": 0.4, "amenity": 0.6, "indonesian_food": 0.3, "indian_food": 0.4, "bottles": 0.4,
    "mugs": 0.4, "shorts": 0.4, "circuit_boards": 0.2, "desk_items": 0.2, "chess": 0.2, "student_clothes": 0.4,
    "cars_trucks": 0.5, "imagenet_sample": 0.7, "imagen200": 0.9, "caltech101": 0.3, "ikea_products": 0.2,
    "grocery": 0.15, "fruits_veg": 0.3, "clothing_small": 0.2, "imagenet_val224": 0.4, "sample_photos": 0.6,
    "monkeys10": 0.4, "nyu_indoor": 0.9, "msrc_stuff": 0.6, "labelmefacade": 0.25, "paris_facades": 0.3,
    "stanford_background": 0.5, "ade20k_rooms_sky": 1.0, "outdoor_samples": 1.0,
}  # fmt: skip
# Sets that annotate stuff but not the things in front of it.
PARTLY_NAMED = frozenset(
    ("nyu_indoor", "labelmefacade", "paris_facades", "stanford_background", "ade20k_rooms_sky", "outdoor_samples")
)
# Stuff is annotated in few images: elsewhere its absence is unknown.
STUFF = (
    "banner", "bridge", "building", "bush", "cabinet", "cardboard", "carpet", "ceiling", "clothes", "cloud", "counter",
    "cupboard", "curtain", "desk", "dirt", "door", "fence", "floor", "floor wood", "flower", "fog", "food", "fruit",
    "furniture", "grass", "gravel", "ground", "hill", "house", "leaves", "light", "mat", "metal", "mirror", "mountain",
    "mud", "napkin", "net", "paper", "pavement", "pillow", "plant", "plastic", "platform", "playingfield", "railing",
    "railroad", "river", "road", "rock", "roof", "rug", "salad", "sand", "sea", "shelf", "sky", "snow", "stairs",
    "stone", "structural", "table", "textile", "towel", "tree", "vegetable", "wall", "wall brick", "wall stone",
    "wall tile", "wall wood", "water", "window", "window blind", "wood",
)  # fmt: skip
VALIDATION_SHARE = 12  # one of this many images of the sets below is held out for validation and calibration
VALIDATED = ("coco_train", "clothes_train", "carparts_train", "camvid_train", "coco_boxes")

CONFIG = TrainConfig(
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
    metric="iou",
    evaluate_every=250,
    checkpoint_every=50,
    log_every=10,
    num_workers=1,
)


def training() -> PixelTextTraining:
    """Return what the recipe is made of."""
    from lab.held_out import training_name

    return PixelTextTraining(
        config=CONFIG,
        read=read,
        always_included=tuple(name for name in COCO_THINGS if training_name(name) == name),
        stuff=STUFF,
        set_weights=SET_WEIGHTS,
        num_items=8000,
        stuff_factor=3.0,
        partly_named=PARTLY_NAMED,
    )


def recipe() -> Recipe:
    """What `promptseg train` looks for."""
    return training().recipe()


def read(data_dir: Path, pseudo_dir: Path | None) -> tuple[list[Sample], list[Sample]]:
    """Read every training set; a fixed twelfth of some sets is held out."""
    pseudo_masks = load_pseudo_mask_folder(pseudo_dir) if pseudo_dir is not None else {}
    return split(read_training(data_dir, pseudo_masks))


def read_training(data_dir: Path, pseudo_masks: PseudoMasks) -> list[Sample]:
    """Read the sets of `SET_WEIGHTS` without held-out images and names."""
    from lab.sets import load_training_set

    return [sample for name in SET_WEIGHTS for sample in load_training_set(name, data_dir, pseudo_masks=pseudo_masks)]


def split(samples: Sequence[Sample]) -> tuple[list[Sample], list[Sample]]:
    """Hold out some images for validation and calibration, by the hash of their names."""
    held_out = [sample for sample in samples if sample.dataset in VALIDATED and _bucket(sample) == 0]
    names = {sample.sample_id for sample in held_out}
    return [sample for sample in samples if sample.sample_id not in names], held_out


def _bucket(sample: Sample) -> int:
    return int.from_bytes(hashlib.sha256(sample.sample_id.encode()).digest()[:4], "big") % VALIDATION_SHARE
