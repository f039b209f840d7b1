"""Resize and normalize images for an image tower."""

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from promptseg.encoders.tower_facts import image_tower_facts
from promptseg.ops.masks import tight_box
from promptseg.ops.pixels import normalize_pixels


class Normalizes(Protocol):
    """Has the statistics for the normalization of pixels, as every image tower does."""

    @property
    def mean(self) -> tuple[float, float, float]:
        """Mean per channel that is subtracted from RGB in [0, 1]."""
        ...

    @property
    def std(self) -> tuple[float, float, float]:
        """Deviation per channel that the difference is divided by."""
        ...


@dataclass(frozen=True)
class PixelStatistics:
    """Statistics for the normalization of pixels.

    Attributes:
        mean: Mean per channel that is subtracted from RGB in [0, 1].
        std: Deviation per channel that the difference is divided by.
    """

    mean: tuple[float, float, float]
    std: tuple[float, float, float]


class ResizesImages(Protocol):
    """Config of a model that resizes images for its image tower; see `fit_size`."""

    @property
    def image_tower(self) -> str:
        """Name of the tower."""
        ...

    @property
    def image_size(self) -> int:
        """Longest side after resizing, pixels."""
        ...

    @property
    def resize(self) -> Literal["square", "aspect"]:
        """Whether the aspect ratio is kept."""
        ...


def fit_size(
    size_hw: tuple[int, int], *, image_size: int, multiple: int, resize: Literal["square", "aspect"]
) -> tuple[int, int]:
    """Choose the size that an image is resized to.

    There is no padding, so a map of the resized image covers exactly the whole image.

    Args:
        size_hw: Height and width of the image, pixels.
        image_size: Longest side after resizing, pixels; rounded to a multiple.
        multiple: Both sides are multiples of this, and at least this.
        resize: "square": both sides are image_size. "aspect": the shorter side is scaled and rounded, which changes the
            aspect ratio a little.

    Returns:
        Height and width, pixels.
    """
    if resize == "square":
        side = _round(image_size, multiple)
        return side, side
    scale = image_size / max(size_hw)
    height, width = (_round(side * scale, multiple) for side in size_hw)
    return height, width


def input_size(config: ResizesImages, size_hw: tuple[int, int]) -> tuple[int, int]:
    """Choose the height and width, pixels, that a model with this config resizes an image to."""
    multiple = image_tower_facts(config.image_tower).multiple
    return fit_size(size_hw, image_size=config.image_size, multiple=multiple, resize=config.resize)


def to_pixels(image_rgb: np.ndarray, size_hw: tuple[int, int], statistics: Normalizes) -> NDArray[np.float32]:
    """Resize an image and normalize it.

    Args:
        image_rgb: uint8, shape (H, W, 3).
        size_hw: Height and width to resize to, pixels.
        statistics: Mean and deviation for the normalization, such as a tower.

    Returns:
        Shape (1, 3, *size_hw), float32.
    """
    height, width = size_hw
    resized = Image.fromarray(image_rgb).resize((width, height), Image.Resampling.BILINEAR)
    mean, std = ([255 * value for value in values] for values in (statistics.mean, statistics.std))
    return normalize_pixels(np.asarray(resized), mean, std)


def context_window(mask: NDArray[np.bool_], *, context: float, min_share: float) -> tuple[slice, slice]:
    """Choose a window of an image around a region.

    Args:
        mask: The region, bool, shape (H, W), with at least one pixel set.
        context: Margin of the window around the region's box on each side, as a share of the box's extent.
        min_share: Minimum side of the window, as a share of the image's longer side, because objects that are enlarged
            too much are not recognizable.

    Returns:
        Rows and columns, clipped to the image.
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
