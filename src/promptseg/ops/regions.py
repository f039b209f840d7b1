"""Small holes and islands of a mask."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

_EIGHT_NEIGHBORS = np.ones((3, 3), dtype=bool)


def fill_small_holes(
    mask: NDArray[np.bool_], *, min_area: int, endless: NDArray[np.bool_] | None = None
) -> NDArray[np.bool_]:
    """Fill every hole of fewer than `min_area` pixels.

    Args:
        mask: bool, shape (H, W); diagonal neighbors are connected.
        min_area: Pixels.
        endless: Where a hole goes on beyond what is shown here, so that it is none, bool, shape (H, W); None: nowhere.
    """
    labels, areas = _label(~mask)
    if endless is not None:
        areas[labels[endless & ~mask]] = np.iinfo(np.int64).max
    return mask | (areas < min_area)[labels]


def drop_small_islands(mask: NDArray[np.bool_], *, min_area: int) -> NDArray[np.bool_]:
    """Drop every island of fewer than `min_area` pixels, but for the largest where all are so small."""
    labels, areas = _label(mask)
    small = areas < min_area
    if len(areas) > 1:
        small[1 + areas[1:].argmax()] = False
    return mask & ~small[labels]


def _label(mask: NDArray[np.bool_]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Number the connected regions from 1 and count their pixels; what is outside, 0, counts as endless."""
    labels, _ = ndimage.label(mask, structure=_EIGHT_NEIGHBORS)
    areas = np.bincount(labels.ravel())
    areas[0] = np.iinfo(np.int64).max
    return labels, areas
