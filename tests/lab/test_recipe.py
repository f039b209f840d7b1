"""The recipe of the shipped checkpoint: its sets, held-out images and vocabulary."""

from pathlib import Path

from cat_world import samples

from lab import recipe
from lab.held_out import training_name
from lab.sets import EVAL_SETS
from promptseg.train.pixel_text.training import validate_masks
from promptseg.train.recipe import load_recipe

RECIPE = Path(__file__).parents[2] / "lab" / "recipe.py"


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
