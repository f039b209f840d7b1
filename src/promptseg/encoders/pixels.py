"""From an image to what an image tower takes."""

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from promptseg.ops.components import tight_box
from promptseg.ops.pixels import normalize_pixels


class Normalizes(Protocol):
    """Whatever says how its pixels are normalized, as every image tower does."""

    @property
    def mean(self) -> tuple[float, float, float]: ...

    @property
    def std(self) -> tuple[float, float, float]: ...


@dataclass(frozen=True)
class PixelStatistics:
    """Per channel of RGB in [0, 1]: what is subtracted, and what is divided by afterwards."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]


def fit_size(
    size_hw: tuple[int, int], *, image_size: int, multiple: int, resize: Literal["square", "aspect"]
) -> tuple[int, int]:
    """Choose the size that an image is resized to.

    Nothing is ever padded, so a map of the resized image is a map of the whole image and of nothing else.

    Args:
        size_hw: Size of the image, pixels.
        image_size: Wanted longest side, pixels; rounded to a multiple.
        multiple: Both sides become multiples of this, and at least this.
        resize: "square": both sides are image_size. "aspect": the shorter side follows, rounded, which changes the
            ratio of the sides a little.

    Returns:
        Height and width, pixels.
    """
    if resize == "square":
        side = _round(image_size, multiple)
        return side, side
    scale = image_size / max(size_hw)
    height, width = (_round(side * scale, multiple) for side in size_hw)
    return height, width


def to_pixels(image_rgb: np.ndarray, size_hw: tuple[int, int], statistics: Normalizes) -> Tensor:
    """Resize an image and normalize it.

    Args:
        image_rgb: uint8, shape (H, W, 3).
        size_hw: Height and width to resize to, pixels.
        statistics: Its mean and std are applied; a tower has its own.

    Returns:
        Shape (1, 3, *size_hw), float32, on the CPU.
    """
    height, width = size_hw
    resized = Image.fromarray(image_rgb).resize((width, height), Image.Resampling.BILINEAR)
    mean, std = ([255 * value for value in values] for values in (statistics.mean, statistics.std))
    return torch.from_numpy(normalize_pixels(np.asarray(resized), mean, std))


def context_window(mask: NDArray[np.bool_], *, context: float, min_share: float) -> tuple[slice, slice]:
    """Choose the part of an image to look at for the sake of a region in it.

    Args:
        mask: The region, bool, shape (H, W), at least one pixel set.
        context: How far the window goes beyond the region's box on each side, as a share of the box's own extent.
        min_share: Least extent of the window, as a share of the image's longer side: what is enlarged too much looks
            like nothing.

    Returns:
        Rows and columns; cut off where the image ends.
    """
    left, top, right, bottom = tight_box(mask)
    least = min_share * max(mask.shape)
    window = []
    for low, high, side in ((top, bottom, mask.shape[0]), (left, right, mask.shape[1])):
        extent = max((1 + 2 * context) * (high - low), least)
        middle = (low + high) / 2
        window.append(slice(max(0, round(middle - extent / 2)), min(side, round(middle + extent / 2))))
    rows, columns = window
    return rows, columns


def _round(side: float, multiple: int) -> int:
    return max(multiple, round(side / multiple) * multiple)
