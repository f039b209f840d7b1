"""Training of the default architecture: frozen parts, validation, and a run with a small model."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from cat_world import samples

from promptseg.encoders.towers import build_image_tower
from promptseg.errors import RecipeError
from promptseg.models.promptseg.config import PromptSegConfig
from promptseg.models.promptseg.network import PromptSegNetwork
from promptseg.models.registry import find_row, load_network
from promptseg.train.config import TrainConfig
from promptseg.train.log import read_log
from promptseg.train.loop import train
from promptseg.train.pixel_text.batches import PixelTextSettings
from promptseg.train.pixel_text.training import DEFAULT_FROZEN, PixelTextTraining, validate_masks
from promptseg.train.presence_calibration import calibrate_head, collect_pairs
from promptseg.train.run import RunOptions


def test_frozen_are_yolox_and_the_finest_strides_of_efficientnet() -> None:
    with torch.device("meta"):
        tower = build_image_tower("efficientnet-lite2+yolox-nano", (8, 16, 32, "head"))
        fine = build_image_tower("efficientnet-lite2", (2, 4))
    names = [f"image_tower.{name}" for name, _ in tower.named_parameters()]
    frozen = {name for name in names if name.startswith(DEFAULT_FROZEN)}
    assert all(any(name.startswith(prefix) for name in names) for prefix in DEFAULT_FROZEN)
    first = {name for name in frozen if name.startswith("image_tower.first.")}
    # stride 4 ends with the fourth block
    fine_names = {f"image_tower.first.{name}" for name, _ in fine.named_parameters()}
    assert first == {name for name in fine_names if "_blocks." not in name or int(name.split(".")[3]) < 4}
    assert frozen - first == {name for name in names if name.startswith("image_tower.second.")}


def test_validation_measures_human_masks() -> None:
    model = load_network("promptseg-test-dense")
    report = validate_masks(model, samples(3))
    assert report["pairs"] == 6, "pseudo-masks don't count"
    assert 0.0 <= report["iou"] == pytest.approx((report["iou_thing"] + report["iou_stuff"]) / 2)
    with pytest.raises(RecipeError, match="none of 1 validation images has a human mask"):
        validate_masks(model, [replace(samples(1)[0], targets=())])


def small_training() -> PixelTextTraining:
    config = find_row("promptseg-test-dense").config
    assert isinstance(config, PromptSegConfig)
    return PixelTextTraining(
        config=TrainConfig(steps=12, batch_size=4, learning_rate=1e-3, evaluate_every=12, log_every=1, metric="iou"),
        read=lambda data_dir, pseudo_dir: (samples(6), samples(2)),
        model=config,
        pretrained=False,
        always_included=("cat", "zebra", "train", "pizza"),
        stuff=("sky",),
        num_items=64,
        settings=PixelTextSettings(side=96, reference_side=96, num_random_names=3),
    )


def test_a_small_model_trains_and_can_be_calibrated(tmp_path: Path) -> None:
    options = RunOptions(data_dir=tmp_path, out_dir=tmp_path / "run", accelerator="cpu", show_progress=False)
    assert train(small_training().recipe(), options).steps == 12
    lines = read_log(tmp_path / "run" / "log.jsonl")
    losses = [line["loss"] for line in lines if line["kind"] == "train"]
    assert sum(losses[-4:]) < sum(losses[:4])
    saved = load_network(tmp_path / "run" / "best")
    assert isinstance(saved, PromptSegNetwork)
    assert saved.config.trained_names == ("cat", "dog", "sky")
    # the checkpoint is stored in half precision
    assert validate_masks(saved, samples(2))["iou"] == pytest.approx(
        next(line["iou"] for line in lines if line["kind"] == "validation"), abs=0.02
    )
    labeled = [replace(sample, exhaustive=frozenset({"cat", "zebra"})) for sample in samples(3)]
    assert calibrate_head(saved, collect_pairs(saved, labeled, seed=0))["presence_loss"] < 0.7


@pytest.mark.parametrize("name", ["promptseg-s1-test", "clipseg-test"])
def test_an_architecture_without_a_pixel_text_head_is_refused(name: str) -> None:
    # a recipe is a Python file, so nothing checks the type before the run
    training = replace(small_training(), model=find_row(name).config)  # type: ignore[arg-type]
    with pytest.raises(RecipeError, match="needs an architecture of the default model"):
        training.build_model()
