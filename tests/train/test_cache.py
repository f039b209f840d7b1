"""Cached features are the tower's, and training on them is training on the images."""

from pathlib import Path

import numpy as np
import pytest
import torch

from promptseg.errors import DataError, OutputError, RecipeError
from promptseg.models.build import build_pretrained
from promptseg.models.registry import find_row
from promptseg.train.cache import FeatureCache, ImageView
from promptseg.train.objectives import LossWeights, cache_phrase_features, phrase_step
from promptseg.train.recipe import CacheOptions, load_recipe
from promptseg.train.samples import PhraseSource, SampleOptions

TINY = load_recipe(Path(__file__).parents[2] / "recipes" / "tiny.py")


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> PhraseSource:
    _, validation = TINY.build_data(tmp_path_factory.mktemp("shapes"), None)
    options = SampleOptions(image_hw=(96, 96), mask_hw=(48, 48), num_present=2, num_absent=1, horizontal_flip=0.5)
    return PhraseSource(validation.samples, options)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return TINY.build_model()


def test_training_on_cached_features_is_training_on_images(source, model, tmp_path):
    cached = cache_phrase_features(model, source, CacheOptions(tmp_path))
    step = phrase_step(LossWeights())
    for seed in range(3):  # some of these are flipped
        live, stored = (
            s.collate([s.item(i, np.random.default_rng(seed + i)) for i in range(8)]) for s in (source, cached)
        )
        assert stored.images_rgb is None and stored.maps[0].dtype == torch.float16 and stored.texts == live.texts
        torch.testing.assert_close(step(model, stored)["loss"], step(model, live)["loss"], rtol=2e-3, atol=0)


def test_each_view_is_computed_once(source, model, tmp_path):
    cache = FeatureCache(tmp_path, model.image_tower, (96, 96))
    views = source.views()
    assert len(views) == 2 * len(source.samples)
    assert cache.fill(model.image_tower, views + views) == len(views)
    assert FeatureCache(tmp_path, model.image_tower, (96, 96)).fill(model.image_tower, views) == 0
    assert len(list(tmp_path.rglob("*.safetensors"))) == len(views)


def test_another_tower_or_size_is_another_directory(model, tmp_path):
    first = FeatureCache(tmp_path, model.image_tower, (96, 96)).directory
    assert FeatureCache(tmp_path, model.image_tower, (64, 96)).directory != first
    model.image_tower.convs[0].bias.data += 1
    assert FeatureCache(tmp_path, model.image_tower, (96, 96)).directory != first


def test_limit_is_kept(source, model, tmp_path):
    cache = FeatureCache(tmp_path, model.image_tower, (96, 96), limit_bytes=100_000)
    with pytest.raises(OutputError, match=r"would take 0\.00.* GB \(48 more views of .* raise --cache-gb"):
        cache.fill(model.image_tower, source.views())
    assert not list(tmp_path.rglob("*.safetensors"))


def test_missing_and_damaged_files_are_named(source, model, tmp_path):
    cache = FeatureCache(tmp_path, model.image_tower, (96, 96))
    view = ImageView(source.samples[0].image, flipped=False)
    with pytest.raises(DataError, match="missing from the feature cache; fill it first"):
        cache.load(view)
    cache.fill(model.image_tower, [view])
    (path,) = tmp_path.rglob("*.safetensors")
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(DataError, match="is damaged: delete it"):
        cache.load(view)


def test_trained_tower_is_refused(tmp_path):
    model = build_pretrained(find_row("promptseg-test-dense").config)
    with pytest.raises(RecipeError, match="can't be cached, because they change"):
        FeatureCache(tmp_path, model.image_tower, (96, 96))


def test_random_views_are_refused(source, model, tmp_path):
    cache = FeatureCache(tmp_path, model.image_tower, (96, 96))
    options = SampleOptions(image_hw=(96, 96), mask_hw=(48, 48), crop=0.5)
    with pytest.raises(RecipeError, match="set crop=None and jitter=0"):
        PhraseSource(source.samples, options, cache=cache)
