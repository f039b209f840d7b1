"""The recipe of the shipped checkpoint: its sets, held-out images and vocabulary."""

import io
from pathlib import Path

import numpy as np
from PIL import Image

from lab import recipe
from lab.held_out import training_name
from lab.sets import EVAL_SETS
from promptseg.data.sample import Sample, Target
from promptseg.ops.rle import encode_rle
from promptseg.train.pixel_text.training import validate_masks
from promptseg.train.recipe import load_recipe

RECIPE = Path(__file__).parents[2] / "lab" / "recipe.py"


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


def test_nothing_held_out_is_trained_on() -> None:
    assert not set(recipe.SET_WEIGHTS) & set(EVAL_SETS)
    assert set(recipe.VALIDATED) <= set(recipe.SET_WEIGHTS)
    assert all(training_name(name) == name for name in recipe.STUFF) and len(set(recipe.STUFF)) == len(recipe.STUFF)


def test_the_held_out_images_are_always_the_same() -> None:
    everything = [*samples(120), *samples(30, "mugs")]
    train_samples, held_out = recipe.split(everything)
    names = [[sample.sample_id for sample in part] for part in (train_samples, held_out)]
    assert 4 <= len(held_out) <= 18 and not set(names[0]) & set(names[1]) and len(names[0]) + len(names[1]) == 150
    assert all(name.startswith("coco_train/") for name in names[1])
    again = recipe.split(everything[::-1])[1]
    assert {sample.sample_id for sample in again} == set(names[1])


def test_the_recipe_trains_the_architecture_of_the_default_model() -> None:
    loaded = load_recipe(RECIPE)
    assert loaded.config == recipe.CONFIG and loaded.validate is validate_masks
    source = recipe.training().build_source(samples(3))
    assert set(recipe.STUFF) <= set(source.vocabulary.names) and "apple" not in source.vocabulary.names
    assert source.always_included and len(source) == 8000
