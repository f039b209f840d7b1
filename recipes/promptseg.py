"""The default model: EfficientNet-Lite2 beside YOLOX-Nano, and MiniLM; every pixel against every name.

Command:   promptseg train recipes/promptseg.py --data DIR --pseudo DIR --out runs/promptseg
Data:      the JSONL index that docs/data.md describes, and the masks that `promptseg pseudo-masks` made for it
Hardware:  two CPU cores (about 2 s a step on one of them); any GPU with 8 GB
Expected:  docs/experiments.md has the curve and the figures of the shipped run
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from promptseg.data.held_out import training_name
from promptseg.data.jsonl import MadeMasks, load_made_masks
from promptseg.data.sample import Sample, Target, target_mask
from promptseg.data.sets import load_training_set
from promptseg.encoders.efficientnet_lite import EfficientNetLite
from promptseg.encoders.towers import load_tower
from promptseg.images import read_image
from promptseg.language.class_names import COCO_THINGS
from promptseg.models.checkpoint import save_pretrained
from promptseg.models.promptseg.config import PromptSegConfig
from promptseg.models.promptseg.network import PromptSeg
from promptseg.models.registry import find_record
from promptseg.train.config import TrainConfig
from promptseg.train.pixel_text.batches import DenseBatch, DenseSettings, DenseSource
from promptseg.train.pixel_text.objective import DenseObjective, read_names
from promptseg.train.pixel_text.vocabulary import Vocabulary, collect_vocabulary, shown_names
from promptseg.train.recipe import Recipe

# set: how often one of its images is drawn, relative to the others
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
# What stands before the stuff is not annotated in these.
PARTLY_NAMED = frozenset(
    ("nyu_indoor", "labelmefacade", "paris_facades", "stanford_background", "ade20k_rooms_sky", "outdoor_samples")
)
# Stuff is annotated in few images: elsewhere nobody said that it is not there.
STUFF = (
    "banner", "bridge", "building", "bush", "cabinet", "cardboard", "carpet", "ceiling", "clothes", "cloud", "counter",
    "cupboard", "curtain", "desk", "dirt", "door", "fence", "floor", "floor wood", "flower", "fog", "food", "fruit",
    "furniture", "grass", "gravel", "ground", "hill", "house", "leaves", "light", "mat", "metal", "mirror", "mountain",
    "mud", "napkin", "net", "paper", "pavement", "pillow", "plant", "plastic", "platform", "playingfield", "railing",
    "railroad", "river", "road", "rock", "roof", "rug", "salad", "sand", "sea", "shelf", "sky", "snow", "stairs",
    "stone", "structural", "table", "textile", "towel", "tree", "vegetable", "wall", "wall brick", "wall stone",
    "wall tile", "wall wood", "water", "window", "window blind", "wood",
)  # fmt: skip
FROZEN = (
    "image_tower.second.",
    *(f"image_tower.first.{part}." for part in ("_conv_stem", "_bn0", *(f"_blocks.{i}" for i in range(4)))),
)
VALIDATION_SHARE = 12  # one of so many images of these sets is kept to validate on
VALIDATED = ("coco_train", "clothes_train", "carparts_train", "camvid_train", "coco_boxes")
VALIDATION_IMAGES = 60

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


def recipe() -> Recipe:
    """Train the image tower, the neck and the dense head on everything at once."""
    training = DenseTraining()
    return Recipe(
        config=CONFIG,
        build_model=training.build_model,
        build_data=training.build_data,
        step=training.step,
        validate=validate,
        save=training.save,
    )


class DenseTraining:
    """What the steps of one run share: the vocabulary and the vectors of its names."""

    def __init__(self) -> None:
        self.vocabulary: Vocabulary | None = None
        self.objective: DenseObjective | None = None
        self.known_names: tuple[str, ...] = ()

    def build_model(self) -> PromptSeg:
        """Build the default model on pretrained towers, without a decoder.

        Strides 2 and 4 of EfficientNet and all of YOLOX stay frozen.
        """
        config = find_record("promptseg").config
        assert isinstance(config, PromptSegConfig) and config.dense is not None  # the row of the default
        # what is decided after training: how low a peak may be, and what reads examples
        model = PromptSeg(replace(config, dense=replace(config.dense, peak_margin=None, exemplar_dim=None)))
        load_tower(model.image_tower, config.image_tower)
        load_tower(model.text_tower, config.text_tower)
        for name, parameter in model.named_parameters():
            if name.startswith(FROZEN):
                parameter.requires_grad_(False)
        return model

    def build_data(self, data_dir: Path, pseudo_dir: Path | None) -> tuple[DenseSource, list[Sample]]:
        """Read every training set; a fixed twelfth of some sets is kept to validate on."""
        made = load_made_masks(sorted(pseudo_dir.glob("*.jsonl"))) if pseudo_dir is not None else {}
        train, kept = split(read_training(data_dir, made))
        things = tuple(name for name in COCO_THINGS if training_name(name) == name)
        self.vocabulary = collect_vocabulary(train, (*things, *STUFF))
        self.known_names = shown_names(train)
        source = DenseSource(
            samples=train,
            vocabulary=self.vocabulary,
            set_weights=SET_WEIGHTS,
            always_asked=things,
            stuff=STUFF,
            num_items=8000,
            settings=DenseSettings(mean=EfficientNetLite.mean, std=EfficientNetLite.std),
            stuff_factor=3.0,
            partly_named=PARTLY_NAMED,
        )
        return source, kept

    def save(self, model: PromptSeg, directory: Path) -> None:
        """Write the model, and what it learned the names of."""
        assert model.config.dense is not None  # it was built with a dense head
        model.config = replace(model.config, dense=replace(model.config.dense, known_names=self.known_names))
        save_pretrained(model, directory, half=True)

    def step(self, model: PromptSeg, batch: DenseBatch) -> Mapping[str, torch.Tensor]:
        """Compute the losses; the first call reads the vocabulary's names with the text tower."""
        if self.objective is None:
            assert self.vocabulary is not None  # data is built before the first step
            self.objective = DenseObjective(read_names(model, self.vocabulary.names))
        return self.objective(model, batch)


def read_training(data_dir: Path, made: MadeMasks) -> list[Sample]:
    """Read the sets of `SET_WEIGHTS` without what is held out."""
    return [sample for name in SET_WEIGHTS for sample in load_training_set(name, data_dir, made_masks=made)]


def split(samples: Sequence[Sample]) -> tuple[list[Sample], list[Sample]]:
    """Keep some images to validate on, by the hash of their names."""
    kept = [sample for sample in samples if sample.dataset in VALIDATED and _bucket(sample) == 0]
    names = {sample.sample_id for sample in kept}
    return [sample for sample in samples if sample.sample_id not in names], kept


def _bucket(sample: Sample) -> int:
    return int.from_bytes(hashlib.sha256(sample.sample_id.encode()).digest()[:4], "big") % VALIDATION_SHARE


def validate(model: PromptSeg, samples: Sequence[Sample]) -> dict[str, float]:
    """Measure mean IoU of people's masks, by kind, at the best of some thresholds; what is there is always kept."""
    thresholds = np.array([-2.0, -1.4, -0.85, -0.4, 0.0, 0.4])
    ious: list[np.ndarray] = []
    kinds: list[str] = []
    asked = [(sample, targets) for sample in samples if (targets := _drawn_by_people(sample))]
    for sample, targets in asked[:: max(1, len(asked) // VALIDATION_IMAGES)]:
        features = model.encode_image(read_image(sample.image))
        logits = model.segment_texts(features, [t.phrase for t in targets], sample.size_hw).mask_logits.float()
        full = torch.nn.functional.interpolate(logits[None], size=sample.size_hw, mode="bilinear", align_corners=False)
        for target, values in zip(targets, full[0].cpu().numpy(), strict=True):
            truth = target_mask(target, sample.size_hw)
            masks = values[None] > thresholds[:, None, None]
            ious.append((masks & truth).sum((1, 2)) / np.maximum((masks | truth).sum((1, 2)), 1))
            kinds.append(target.kind)
    table, names = np.array(ious), np.array(kinds)
    best = int(table.mean(0).argmax())
    by_kind = {f"iou_{kind}": float(table[names == kind, best].mean()) for kind in sorted(set(kinds))}
    return {
        "iou": float(table[:, best].mean()),
        "threshold_logit": float(thresholds[best]),
        "pairs": len(table),
        **by_kind,
    }


def _drawn_by_people(sample: Sample) -> list[Target]:
    return [
        target for target in sample.targets if target.masks and target.source == "human" and target.kind != "phrase"
    ]
