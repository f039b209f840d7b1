"""Divide an image into windows: SAM's layers of crops, and tiles.

A window is (left, top, right, bottom) in whole pixels, right and bottom exclusive.
"""

import math
from dataclasses import dataclass
from itertools import product
from numbers import Integral
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from promptseg.errors import PromptError

Window: TypeAlias = tuple[int, int, int, int]

MIN_TILE_SIDE = 64


def shared_window(window: Window, other: Window) -> Window | None:
    """Return the intersection of two windows, or None if it is empty."""
    left, top = max(window[0], other[0]), max(window[1], other[1])
    right, bottom = min(window[2], other[2]), min(window[3], other[3])
    return (left, top, right, bottom) if left < right and top < bottom else None


@dataclass(frozen=True)
class Tiles:
    """Layout of the tiles of a large image.

    Attributes:
        side: Side of a tile, pixels, at least 64.
        overlap: Minimum overlap of neighbors, pixels, from 1 to side // 2. An object that fits into the overlap is
            complete in one of the tiles.

    Raises:
        PromptError: A number is out of its range.
    """

    side: int = 1024
    overlap: int = 256

    def __post_init__(self) -> None:
        if not (isinstance(self.side, Integral) and isinstance(self.overlap, Integral)):
            raise PromptError(f"tiles have whole numbers of pixels, not a side of {self.side!r} and {self.overlap!r}")
        if self.side < MIN_TILE_SIDE:
            raise PromptError(f"tiles must have a side of at least {MIN_TILE_SIDE} pixels, got {self.side}")
        if not 1 <= self.overlap <= self.side // 2:
            raise PromptError(
                f"tiles of {self.side} pixels must overlap by 1 to {self.side // 2} pixels, got {self.overlap}"
            )

    def windows(self, size_hw: tuple[int, int]) -> tuple[Window, ...]:
        """List tiles of equal size, evenly spread over an image, row by row; empty if the image fits in one tile.

        Args:
            size_hw: Height and width of the image, pixels.
        """
        if max(size_hw) <= self.side:
            return ()
        (height, tops), (width, lefts) = (self._starts(length) for length in size_hw)
        return tuple((left, top, left + width, top + height) for top, left in product(tops, lefts))

    def _starts(self, length: int) -> tuple[int, list[int]]:
        """Compute the length of the tiles along one side of an image, and the start of each tile."""
        if length <= self.side:
            return length, [0]
        count = math.ceil((length - self.overlap) / (self.side - self.overlap))
        return self.side, [round(start) for start in np.linspace(0, length - self.side, count)]


def crop_layers(size_hw: tuple[int, int], *, num_layers: int, overlap_ratio: float) -> list[tuple[Window, int]]:
    """List layers of increasingly small crops of an image: the whole image, then 2 x 2 crops, 4 x 4 and so on.

    Args:
        size_hw: Height and width of the image, pixels.
        num_layers: Number of layers besides the whole image.
        overlap_ratio: Overlap of the crops in the first layer, as a share of the image's shorter side; the overlap
            halves with each further layer.

    Returns:
        Each window and its layer, from 0.

    Source:
        segment_anything/utils/amg.py, generate_crop_boxes @ dca509f (Apache-2.0): the same windows in the same order.
    """
    height, width = size_hw
    windows = [((0, 0, width, height), 0)]
    for layer in range(1, num_layers + 1):
        num_side = 2**layer
        overlap = int(overlap_ratio * min(size_hw) * 2 / num_side)
        crop_width, crop_height = (math.ceil((overlap * (num_side - 1) + side) / num_side) for side in (width, height))
        for column, row in product(range(num_side), repeat=2):
            left, top = column * (crop_width - overlap), row * (crop_height - overlap)
            windows.append(((left, top, min(left + crop_width, width), min(top + crop_height, height)), layer))
    return windows


def point_grid(points_per_side: int, size_hw: tuple[int, int]) -> NDArray[np.float64]:
    """Spread n x n points evenly over an image, in the middle of their cells, row by row: (x, y), shape (n * n, 2)."""
    steps = (np.arange(points_per_side) + 0.5) / points_per_side
    y, x = np.meshgrid(steps * size_hw[0], steps * size_hw[1], indexing="ij")
    return np.stack([x.ravel(), y.ravel()], axis=1)
