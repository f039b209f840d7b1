"""The recipe of the default model: what it freezes, what it keeps aside, and that it trains, with a small model."""

import io
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image

from promptseg.data.held_out import training_name
from promptseg.data.sample import Sample, Target
from promptseg.data.sets import EVAL_SETS
from promptseg.encoders.towers import build_image_tower
from promptseg.models.registry import get_model, load_model
from promptseg.ops.rle import encode_rle
from promptseg.train.log import read_log
from promptseg.train.loop import train
from promptseg.train.pixel_text.batches import DenseSettings, DenseSource
from promptseg.train.pixel_text.vocabulary import collect_vocabulary
from promptseg.train.recipe import load_recipe
from promptseg.train.run import RunOptions

RECIPE = Path(__file__).parents[3] / "recipes" / "promptseg.py"


@pytest.fixture(scope="module")
def module() -> ModuleType:
    load_recipe(RECIPE)
    return sys.modules["promptseg_recipe_promptseg"]


def samples(count: int, dataset: str = "coco_train") -> list[Sample]:
    rng = np.random.default_rng(0)
    made = []
    for number in range(count):
        mask = np.zeros((64, 96), dtype=bool)
        mask[16:48, number % 40 : number % 40 + 40] = True
        image = rng.integers(0, 80, (64, 96, 3), dtype=np.uint8)
        image[mask] += 120
        stream = io.BytesIO()
        Image.fromarray(image).save(stream, "PNG")
        targets = (
            Target("cat", masks=(encode_rle(mask),)),
            Target("sky", kind="stuff", masks=(encode_rle(~mask),)),
            Target("dog", masks=(encode_rle(mask),), source="made"),
        )
        name = f"{dataset}/{number}.png"
        made.append(Sample(name, stream.getvalue(), (64, 96), targets, exhaustive=frozenset({"cat"}), dataset=dataset))
    return made


def test_frozen_are_yolox_and_the_finest_strides_of_efficientnet(module: ModuleType) -> None:
    with torch.device("meta"):
        tower = build_image_tower("efficientnet-lite2+yolox-nano", (8, 16, 32, "head"))
        fine = build_image_tower("efficientnet-lite2", (2, 4))
    names = [f"image_tower.{name}" for name, _ in tower.named_parameters()]
    frozen = {name for name in names if name.startswith(module.FROZEN)}
    assert all(any(name.startswith(prefix) for name in names) for prefix in module.FROZEN)
    first = {name for name in frozen if name.startswith("image_tower.first.")}
    # stride 4 ends with the fourth block
    kept = {f"image_tower.first.{name}" for name, _ in fine.named_parameters()}
    assert first == {name for name in kept if "_blocks." not in name or int(name.split(".")[3]) < 4}
    assert frozen - first == {name for name in names if name.startswith("image_tower.second.")}


def test_nothing_held_out_is_trained_on(module: ModuleType) -> None:
    assert not set(module.SET_WEIGHTS) & set(EVAL_SETS)
    assert set(module.VALIDATED) <= set(module.SET_WEIGHTS)
    assert all(training_name(name) == name for name in module.STUFF) and len(set(module.STUFF)) == len(module.STUFF)


def test_some_images_are_kept_aside_always_the_same(module: ModuleType) -> None:
    everything = [*samples(120), *samples(30, "mugs")]
    train_samples, kept = module.split(everything)
    names = [[sample.sample_id for sample in part] for part in (train_samples, kept)]
    assert 4 <= len(kept) <= 18 and not set(names[0]) & set(names[1]) and len(names[0]) + len(names[1]) == 150
    assert all(name.startswith("coco_train/") for name in names[1])
    again = module.split(everything[::-1])[1]
    assert {sample.sample_id for sample in again} == set(names[1])


def test_validation_measures_what_people_drew(module: ModuleType) -> None:
    model = load_model("promptseg-test-dense")
    report = module.validate(model, samples(3))
    assert report["pairs"] == 6, "the masks of a process don't count"
    assert 0.0 <= report["iou"] == pytest.approx((report["iou_thing"] + report["iou_stuff"]) / 2)


def test_dense_recipe_trains_a_small_model_through_the_loop(module: ModuleType, tmp_path: Path) -> None:
    train_samples, kept = samples(6), samples(2)
    training = module.DenseTraining()
    training.vocabulary = collect_vocabulary(train_samples, ("zebra", "train", "pizza"))
    source = DenseSource(
        samples=train_samples,
        vocabulary=training.vocabulary,
        set_weights=module.SET_WEIGHTS,
        always_asked=("cat",),
        stuff=("sky",),
        num_items=64,
        settings=DenseSettings(side=96, reference_side=96, num_random_names=3),
    )
    small = replace(
        load_recipe(RECIPE),
        config=replace(module.CONFIG, steps=12, batch_size=4, num_workers=0, evaluate_every=12, log_every=1),
        build_model=lambda: get_model("promptseg-test-dense"),
        build_data=lambda data_dir, pseudo_dir: (source, kept),
        step=training.step,
    )
    options = RunOptions(data_dir=tmp_path, out_dir=tmp_path / "run", accelerator="cpu", show_progress=False)
    assert train(small, options).steps == 12
    lines = read_log(tmp_path / "run" / "log.jsonl")
    losses = [line["loss"] for line in lines if line["kind"] == "train"]
    assert sum(losses[-4:]) < sum(losses[:4])
    saved = load_model(tmp_path / "run" / "best")
    # half of the precision, so that the file is half as long
    assert module.validate(saved, kept)["iou"] == pytest.approx(
        next(line["iou"] for line in lines if line["kind"] == "validation"), abs=0.02
    )
