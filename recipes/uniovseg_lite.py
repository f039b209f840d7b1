"""The first stage of Uni-OVSeg in small: masks of points and boxes on the default model's frozen convolutional tower.

Command:   promptseg train recipes/uniovseg_lite.py --data DATA --out runs/lite
           (--data: this project's indexes, see docs/data.md; with --pseudo made, after `promptseg pseudo-masks --data
           DATA --out made --set coco_boxes`, the masks that MobileSAM draws in people's boxes are used too)
Hardware:  one CPU core: about 1 s of CPU time a step; a GPU, or some hours of more cores, for a model of use
Expected:  docs/uniovseg.md, "A small one": what short runs reached, which is not enough to ship

As the first stage (recipes/uniovseg_masks.py), but: 320 px; half of the width, one deformable and three masked layers;
each point lies in a random mask, for the annotation leaves most of an image out; all scores of a point are trained; the
mask features know their places (`UniOvSegConfig.placed_features`); Dice weighs three times as much as cross-entropy,
because after 450 steps with the published weights most masks were too small or empty.
"""

from collections.abc import Sequence
from dataclasses import replace
from importlib import resources
from pathlib import Path

from safetensors.torch import load_file

from promptseg.data.jsonl import load_pseudo_mask_folder, read_jsonl
from promptseg.data.sample import Sample
from promptseg.evaluate.benchmarks.promptable import PromptableSettings
from promptseg.models.checkpoint_files import WEIGHTS_FILE
from promptseg.models.registry import find_row
from promptseg.models.uniovseg.network import UniOvSeg
from promptseg.train.config import TrainConfig
from promptseg.train.recipe import Recipe
from promptseg.train.unpaired.mask_batches import MaskViewSettings
from promptseg.train.unpaired.mask_objective import MaskObjective
from promptseg.train.unpaired.mask_training import MaskTraining

# How often an image of each index occurs in an epoch.
SETS = {"coco_train": 4, "people_train": 1, "clothes_train": 1, "carparts_train": 1, "animals7": 1, "coco_boxes": 1}
VALIDATION_SHARE = 12  # one image of so many of the first index is held out
NUM_VALIDATION = 25


def read(data_dir: Path, pseudo_dir: Path | None) -> tuple[Sequence[Sample], Sequence[Sample]]:
    """Read the sets, with the pseudo-masks of those that have boxes, and hold out some images of the first."""
    made = {} if pseudo_dir is None else load_pseudo_mask_folder(pseudo_dir)
    sets = [
        [one for one in read_jsonl(data_dir / f"{name}.jsonl", pseudo_masks=made).samples if one.with_evidence("mask")]
        for name in SETS
    ]
    held_out = sets[0][::VALIDATION_SHARE]
    names = {one.sample_id for one in held_out}
    repeated = [one for samples, times in zip(sets, SETS.values(), strict=True) for one in samples * times]
    return [one for one in repeated if one.sample_id not in names], held_out[:NUM_VALIDATION]


TRAINING = MaskTraining(
    config=TrainConfig(
        steps=900,
        batch_size=2,
        learning_rate=7e-4,
        weight_decay=0.02,
        undecayed=("prompts.", "pixel_decoder.level_codes", "mask_decoder.level_codes"),
        warmup_epochs=0.04,
        final_lr_ratio=0.02,
        clip_norm=3.0,
        ema_decay=0.99,
        evaluate_every=450,
        checkpoint_every=100,
        log_every=10,
        num_workers=0,
    ),
    read=read,
    model=find_row("uniovseg-lite").config,  # type: ignore[arg-type]  # a Uni-OVSeg
    settings=MaskViewSettings(
        side=320, scale=(0.9, 1.4), points_per_side=5, points="masks", max_masks=10, min_area_share=5e-4
    ),
    objective=MaskObjective(num_points=1024, matching_cells=64, scores_all=True, bce_weight=1.0, dice_weight=3.0),
    validation=PromptableSettings(points_per_side=None, max_objects=10, min_pixels=100, kinds=("thing",)),
)


def build_model() -> UniOvSeg:
    """Build the model on the default model's tower."""
    model = TRAINING.build_model()
    checkpoint = resources.files("promptseg") / "checkpoints" / "promptseg" / WEIGHTS_FILE
    with resources.as_file(checkpoint) as path:
        weights = load_file(path)
    own = model.image_tower.state_dict()
    model.image_tower.load_state_dict({name: weights[f"image_tower.first.{name}"] for name in own})
    return model


def recipe() -> Recipe:
    """Return the recipe that `promptseg train` runs."""
    return replace(TRAINING.recipe(), build_model=build_model)
