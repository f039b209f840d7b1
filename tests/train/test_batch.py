"""What all batches have in common: normalization of their images, and moves between devices."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor

from promptseg.encoders.pixels import PixelStatistics, to_pixels
from promptseg.train.batch import move_tensors, normalize_images


@pytest.mark.parametrize("mean", [(0.485, 0.456, 0.406), (127 / 255,) * 3])
def test_normalized_images_are_those_of_inference(mean: tuple[float, float, float]) -> None:
    images_rgb = np.random.default_rng(0).integers(0, 256, (2, 96, 64, 3), dtype=np.uint8)
    statistics = PixelStatistics(mean, (0.229, 0.224, 128 / 255))
    batch = normalize_images(torch.from_numpy(images_rgb), statistics)
    for image_rgb, pixels in zip(images_rgb, batch, strict=True):
        torch.testing.assert_close(pixels[None], torch.from_numpy(to_pixels(image_rgb, (96, 64), statistics)))


@dataclass(frozen=True)
class Inner:
    weight: Tensor


@dataclass(frozen=True)
class Outer:
    sample_ids: tuple[str, ...]
    maps: tuple[Tensor, ...] | None
    inner: Inner
    nothing: Tensor | None = None


def test_every_tensor_of_a_batch_moves_and_nothing_else_changes() -> None:
    batch = Outer(("a", "b"), (torch.zeros(2), torch.ones(3)), Inner(torch.ones(1)))
    moved = move_tensors(batch, torch.device("meta"))
    assert moved.sample_ids == ("a", "b") and moved.nothing is None and moved.maps is not None
    assert [one.device.type for one in (*moved.maps, moved.inner.weight)] == ["meta"] * 3
    assert batch.inner.weight.device.type == "cpu"
