"""Crops whose features are kept in memory: the same as encoding them in each step."""

import numpy as np
import pytest
import torch
from episode_world import build_model, draw_samples

from promptseg.models.promptseg.network import PromptSegNetwork
from promptseg.train.batch import normalize_images
from promptseg.train.encoded_crops import encode_crops
from promptseg.train.pixel_text.batches import PixelTextSettings, PixelTextSource
from promptseg.train.pixel_text.vocabulary import collect_vocabulary


@pytest.fixture(scope="module")
def model() -> PromptSegNetwork:
    return build_model()


@pytest.fixture(scope="module")
def source() -> PixelTextSource:
    samples = draw_samples()
    return PixelTextSource(
        samples=samples, vocabulary=collect_vocabulary(samples), set_weights={}, always_included=(), stuff=(),
        num_items=5, settings=PixelTextSettings(side=96, reference_side=96),
    )  # fmt: skip


@torch.no_grad()
def test_features_are_those_of_the_drawn_crops(model: PromptSegNetwork, source: PixelTextSource) -> None:
    encoded = encode_crops(model, source, batch_size=2, seed=3)
    assert len(encoded) == 5
    items = [source.item(index, np.random.default_rng([3, index])) for index in range(5)]
    images_rgb = torch.from_numpy(np.stack([item.image_rgb for item in items]))
    expected = model.encode_images(normalize_images(images_rgb, model.image_tower)).pixel_embedding
    batch = encoded.collate([encoded.item(index, np.random.default_rng(0)) for index in range(5)])
    assert batch.sample_ids == [item.sample_id for item in items]
    torch.testing.assert_close(batch.embedding.float(), expected, atol=2e-3, rtol=0)
    fused = model.fuse_maps([level.float() for level in batch.maps]).pixel_embedding
    torch.testing.assert_close(fused, expected, atol=2e-2, rtol=0)
    assert torch.equal(batch.labels.maps, source.collate(items).maps)
    assert batch.labels.images_rgb.numel() == 0, "pixels are not kept"
    moved = batch.to(torch.device("meta"))
    assert moved.labels.maps.is_meta and moved.embedding.is_meta and all(level.is_meta for level in moved.maps)
