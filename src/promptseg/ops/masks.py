"""Facts of masks: connected objects, boxes, points inside, overlap; small holes and islands.

SciPy is imported where it is needed: it takes 0.3 s, and many requests do without.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

# Pixels whose areas are counted at once.
COUNTED_AT_ONCE = 4_000_000


def iterate_components(
    mask: NDArray[np.bool_], *, min_share: float
) -> Iterator[tuple[tuple[slice, slice], NDArray[np.bool_]]]:
    """Yield the connected objects of a mask, in reading order of their top edge.

    Args:
        mask: bool, shape (H, W).
        min_share: Objects smaller than this share of the largest one are left out; in [0, 1].

    Yields:
        Window (rows, columns) of the object, and its pixels in that window, bool.
    """
    # here and not above: it takes 0.3 s to import, and many requests do without
    from scipy import ndimage

    labels, num_objects = label_components(mask)
    if num_objects == 0:
        return
    areas = np.zeros(num_objects + 1, dtype=np.int64)
    for rows in np.array_split(labels, -(-labels.size // COUNTED_AT_ONCE)):  # bincount copies to eight bytes a pixel
        areas += np.bincount(rows.ravel(), minlength=num_objects + 1)
    areas[0] = 0
    for index, window in enumerate(ndimage.find_objects(labels), start=1):
        if areas[index] >= min_share * areas.max():
            yield window, labels[window] == index


def label_components(mask: NDArray[np.bool_]) -> tuple[NDArray[np.int32], int]:
    """Number the connected objects of a mask from 1, in reading order of their top edge; 0 is outside.

    Pixels that touch at a corner are connected: thin slanted objects (a leash, a wire) would fall apart otherwise.

    Args:
        mask: bool, shape (H, W).

    Returns:
        The number of each pixel, shape (H, W), and how many objects there are.
    """
    from scipy import ndimage

    labels, num_objects = ndimage.label(mask, structure=np.ones((3, 3), dtype=np.bool_))
    return labels, int(num_objects)


def nearest_labels(
    labels: NDArray[np.int32], pixels: tuple[NDArray[np.int64], NDArray[np.int64]], *, max_distance: float
) -> NDArray[np.int32]:
    """Find the object that each of some pixels lies on, or near.

    Args:
        labels: From `label_components`, shape (H, W).
        pixels: Rows and columns, shape (P,) each.
        max_distance: Pixels; further from all objects the answer is 0.

    Returns:
        Shape (P,).
    """
    from scipy import ndimage

    if not labels.any():
        return np.zeros(len(pixels[0]), dtype=np.int32)
    distance, (rows, columns) = ndimage.distance_transform_edt(labels == 0, return_indices=True)
    nearest: NDArray[np.int32] = labels[rows[pixels], columns[pixels]]
    return np.where(distance[pixels] <= max_distance, nearest, 0)


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


def mask_iou(mask: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    """Compute the intersection over union of two masks of one shape; 0 where both are empty."""
    return float((mask & other).sum() / max(int((mask | other).sum()), 1))


def inner_points(
    inside: NDArray[np.bool_], num_points: int, *, away_from_xy: NDArray[np.floating] | None = None
) -> NDArray[np.float64]:
    """Choose pixel centers deep inside a region and far from each other.

    Args:
        inside: The region, bool, shape (H, W), at least one pixel.
        num_points: How many.
        away_from_xy: Points that they keep away from too, shape (K, 2); None: no others.

    Returns:
        Shape (num_points, 2), x then y, in pixels of `inside`.
    """
    # here and not above: it takes 0.3 s to import, and many requests do without
    from scipy import ndimage

    depth = ndimage.distance_transform_edt(np.pad(inside, 1))[1:-1, 1:-1]
    y, x = np.indices(inside.shape) + 0.5
    taken = [] if away_from_xy is None else [tuple(point) for point in away_from_xy]
    away = np.full(inside.shape, np.inf)
    for point_x, point_y in taken:
        np.minimum(away, np.hypot(x - point_x, y - point_y), out=away)
    points = np.zeros((num_points, 2))
    for index in range(num_points):
        weight = np.where(inside, depth * away, -1.0) if np.isfinite(away[0, 0]) else depth
        row, column = np.unravel_index(int(np.argmax(weight)), inside.shape)
        points[index] = column + 0.5, row + 0.5
        if index + 1 < num_points:
            np.minimum(away, np.hypot(x - points[index, 0], y - points[index, 1]), out=away)
    return points


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
    labels, _ = label_components(mask)
    areas = np.bincount(labels.ravel())
    areas[0] = np.iinfo(np.int64).max
    return labels, areas
