"""Where the objects of a mask are."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

# A diagonal step stays inside an object: thin slanted things (a leash, a wire) would fall apart otherwise.
_EIGHT_NEIGHBORS = np.ones((3, 3), dtype=bool)
COUNTED_AT_ONCE = 4_000_000


def iterate_components(
    mask: NDArray[np.bool_], *, min_share: float
) -> Iterator[tuple[tuple[slice, slice], NDArray[np.bool_]]]:
    """Yield the connected objects of a mask, in reading order of their top edge.

    Args:
        mask: bool, shape (H, W).
        min_share: Objects smaller than this share of the largest one are crumbs, and left out; in [0, 1].

    Yields:
        Window (rows, columns) of the object, and its pixels in that window, bool.
    """
    labels, num_objects = ndimage.label(mask, structure=_EIGHT_NEIGHBORS)
    if num_objects == 0:
        return
    areas = np.zeros(num_objects + 1, dtype=np.int64)
    for rows in np.array_split(labels, -(-labels.size // COUNTED_AT_ONCE)):  # bincount copies to eight bytes a pixel
        areas += np.bincount(rows.ravel(), minlength=num_objects + 1)
    areas[0] = 0
    for index, window in enumerate(ndimage.find_objects(labels), start=1):
        if areas[index] >= min_share * areas.max():
            yield window, labels[window] == index


def tight_box(mask: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """Find the smallest box around the pixels of a mask.

    Args:
        mask: bool, shape (H, W).

    Returns:
        Whole pixels: (left, top, right, bottom), right and bottom exclusive; all 0 where there is no pixel.
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        return 0, 0, 0, 0
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
