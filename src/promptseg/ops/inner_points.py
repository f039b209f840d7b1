"""Points that stand for a region."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage


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
