"""Masks as polygons that follow the edges of their pixels, and back, without loss.

Corners are whole numbers: pixel (x, y) covers x to x + 1 and y to y + 1. A file format that rounds by less than half a
pixel gives the same mask again. Formats that know no holes, or only one ring an object, get rings joined by lines
without width, there and back, which enclose nothing.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage
from scipy.spatial import KDTree

Ring = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Polygon:
    """One connected area and the holes in it; no ring crosses or touches itself, and rings touch in corners only.

    Attributes:
        outer: Corners (x, y), int, shape (P, 2), not closed; clockwise on the screen, its shoelace area is positive.
        holes: The same for each hole, the other way round.
    """

    outer: Ring
    holes: tuple[Ring, ...] = ()


def trace_polygons(mask: NDArray[np.bool_], *, origin_xy: tuple[int, int] = (0, 0)) -> tuple[Polygon, ...]:
    """Trace the edges of a mask.

    Args:
        mask: bool, shape (H, W).
        origin_xy: Where the mask's top left corner lies in the image.

    Returns:
        One polygon for each part that holds together by edges (parts that meet in a corner are two), in reading order.
    """
    labels, num_parts = ndimage.label(mask)
    parts: list[list[Ring]] = [[] for _ in range(num_parts)]
    for part, ring in _trace_rings(labels):
        parts[part - 1].append(ring + np.array(origin_xy))
    # The one ring round the part has a positive area, the others are its holes.
    ordered = (sorted(rings, key=ring_area, reverse=True) for rings in parts)
    return tuple(Polygon(outer, tuple(holes)) for outer, *holes in ordered)


def ring_area(ring: ArrayLike) -> float:
    """Signed area of a ring by the shoelace formula, positive when it is clockwise on the screen."""
    x, y = np.asarray(ring, dtype=np.float64).T
    return float(np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y)) / 2


def join_holes(polygon: Polygon) -> Ring:
    """Make one ring of an area and its holes: from each hole a line goes straight up to the next ring, and back."""
    # From the top down, each from its upper left corner: what its line hits comes before it.
    holes = [np.roll(hole, -np.lexsort((hole[:, 0], hole[:, 1]))[0], axis=0) for hole in polygon.holes]
    rings = [polygon.outer, *sorted(holes, key=lambda hole: (int(hole[0, 1]), int(hole[0, 0])))]
    starts = np.concatenate(rings)
    stops = np.concatenate([np.roll(ring, -1, axis=0) for ring in rings])
    level = starts[:, 1]
    left, right = np.minimum(starts[:, 0], stops[:, 0]), np.maximum(starts[:, 0], stops[:, 0])
    owner = np.repeat(np.arange(len(rings)), [len(ring) for ring in rings])
    corner = np.concatenate([np.arange(len(ring)) for ring in rings])
    ties = []
    for x, y in (hole[0] for hole in rings[1:]):
        hits = np.flatnonzero((level == stops[:, 1]) & (level < y) & (left <= x) & (x <= right))
        nearest = hits[np.argmax(level[hits])]
        ties.append((int(owner[nearest]), int(corner[nearest]), np.array([[x, level[nearest]]])))
    return _graft(rings, ties)


def join_parts(polygons: Sequence[Polygon]) -> Ring:
    """Make one ring of one or more areas: each is tied to a near one before it, between their nearest corners."""
    rings = [join_holes(polygon) for polygon in polygons]
    centers = np.stack([ring.mean(axis=0) for ring in rings])
    ties = []
    for index in range(1, len(rings)):
        parent = int(np.argmin(np.square(centers[:index] - centers[index]).sum(axis=1)))
        distances, nearest = KDTree(rings[parent]).query(rings[index])
        start = int(np.argmin(distances))
        corner = int(nearest[start])
        rings[index] = np.roll(rings[index], -start, axis=0)
        ties.append((parent, corner, rings[parent][corner : corner + 1]))
    return _graft(rings, ties)


def _graft(rings: Sequence[Ring], ties: Sequence[tuple[int, int, Ring]]) -> Ring:
    """Join rings to the first one by lines there and back.

    Args:
        rings: Each begins where its line ends.
        ties: For each ring but the first, where its line begins: which ring before it, after which of its corners,
            and the point.
    """
    grafts: list[list[tuple[int, Ring]]] = [[] for _ in rings]

    def grown(index: int) -> Ring:
        ring, pieces, done = rings[index], [], 0
        for corner, graft in sorted(grafts[index], key=lambda item: item[0]):
            pieces += [ring[done : corner + 1], graft]
            done = corner + 1
        return np.concatenate([*pieces, ring[done:]])

    for index in range(len(rings) - 1, 0, -1):
        parent, corner, foot = ties[index - 1]
        ring = grown(index)
        grafts[parent].append((corner, np.concatenate([foot, ring, ring[:1], foot])))
    joined = grown(0)
    return joined[(joined != np.roll(joined, 1, axis=0)).any(axis=1)]


def fill_rings(rings: Iterable[ArrayLike], size_hw: tuple[int, int]) -> NDArray[np.bool_]:
    """Fill the area between rings: a pixel belongs to it when its center lies inside an odd number of them.

    Args:
        rings: Corners (x, y), pixels, shape (P, 2), finite; what lies outside the image is cut off.
        size_hw: Height and width of the image.

    Returns:
        bool, shape `size_hw`.

    Raises:
        ValueError: A corner is not finite.
    """
    height, width = size_hw
    toggles = np.zeros((height, width + 1), dtype=np.bool_)
    for ring in rings:
        corners = np.asarray(ring, dtype=np.float64).reshape(-1, 2)
        if not np.isfinite(corners).all():
            raise ValueError("a ring with a corner that is not finite")
        edges = np.stack([corners, np.roll(corners, -1, axis=0)], axis=1)
        # Every edge goes down, so that a line there and back gives the same numbers twice, and cancels out.
        (x0, y0), (x1, y1) = np.moveaxis(np.where((edges[:, :1, 1:] > edges[:, 1:, 1:]), edges[:, ::-1], edges), 0, 2)
        first = np.clip(np.ceil(y0 - 0.5), 0, height).astype(np.int64)
        num_rows = np.clip(np.ceil(y1 - 0.5), 0, height).astype(np.int64) - first
        edge = np.repeat(np.arange(len(edges)), num_rows)
        row = first[edge] + np.arange(len(edge)) - np.repeat(np.cumsum(num_rows) - num_rows, num_rows)
        x = x0[edge] + (row + 0.5 - y0[edge]) * (x1 - x0)[edge] / (y1 - y0)[edge]
        np.logical_xor.at(toggles, (row, np.clip(np.ceil(x - 0.5), 0, width).astype(np.int64)), True)
    return np.logical_xor.accumulate(toggles, axis=1)[:, :width]


def _trace_rings(labels: NDArray[np.int32]) -> Iterator[tuple[int, Ring]]:
    """Follow the edges of parts, the part on the right hand; yield label and corners of each ring."""
    labels = np.pad(labels, 1)
    inside = (labels > 0).astype(np.int8)
    # A run is a straight stretch of edges of one direction: +1 right or down, -1 left or up.
    y, left, right, heading = _runs(inside[1:, 1:-1] - inside[:-1, 1:-1])
    x, upper, lower, sinking = _runs((inside[1:-1, :-1] - inside[1:-1, 1:]).T)
    starts = np.stack([np.where(heading > 0, left, right), y], axis=1)
    ends = np.stack([np.where(heading > 0, right, left), y], axis=1)
    vertical_starts = np.stack([x, np.where(sinking > 0, upper, lower)], axis=1)
    vertical_ends = np.stack([x, np.where(sinking > 0, lower, upper)], axis=1)
    # Where four edges meet, two pixels meet in a corner. If they are of one part, its ring turns left there, and so
    # never meets itself; else it turns right, and stays with its part. Left of right is up, left of down is right.
    to_vertical = _follow(ends, np.where(_is_one_part(labels, ends), -heading, heading), vertical_starts, sinking)
    turns = np.where(_is_one_part(labels, vertical_ends), sinking, -sinking)
    to_horizontal = _follow(vertical_ends, turns, starts, heading)
    successor = to_horizontal[to_vertical].tolist()
    # The pixel on the right hand of a run, in the padded array.
    parts = labels[np.where(heading > 0, y + 1, y), left + 1].tolist()
    is_done = [False] * len(successor)
    for first, part in enumerate(parts):
        members = []
        current = first
        while not is_done[current]:
            is_done[current] = True
            members.append(current)
            current = successor[current]
        if members:
            yield part, np.stack([starts[members], ends[members]], axis=1).reshape(-1, 2)


def _is_one_part(labels: NDArray[np.int32], corners_xy: Ring) -> NDArray[np.bool_]:
    """Tell where two pixels that meet in a corner are of the same part; labels are padded by one."""
    x, y = corners_xy.T
    upper_left, lower_right = labels[y, x], labels[y + 1, x + 1]
    upper_right, lower_left = labels[y, x + 1], labels[y + 1, x]
    return np.where(upper_left > 0, upper_left == lower_right, upper_right == lower_left)


def _runs(steps: NDArray[np.int8]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Find the runs of equal non-zero values in rows: row, first and last-plus-one column, value."""
    padded = np.pad(steps, ((0, 0), (1, 1)))
    is_start = (padded[:, 1:] != padded[:, :-1]) & (padded[:, 1:] != 0)
    is_stop = (padded[:, 1:] != padded[:, :-1]) & (padded[:, :-1] != 0)
    row, start = np.nonzero(is_start)
    _, stop = np.nonzero(is_stop)
    return row, start, stop, steps[row, start].astype(np.int64)


def _follow(
    ends_xy: Ring, wanted: NDArray[np.int64], starts_xy: Ring, directions: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Find for each end the run that starts there: of the wanted direction where there are two."""
    width = int(starts_xy[:, 0].max(initial=0)) + 1

    def key(points_xy: Ring, direction: NDArray[np.int64]) -> NDArray[np.int64]:
        return (points_xy[:, 1] * width + points_xy[:, 0]) * 2 + (direction > 0)

    keys = key(starts_xy, directions)
    order = np.argsort(keys)
    ordered = keys[order]
    position = np.searchsorted(ordered, key(ends_xy, wanted))
    is_there = ordered[np.minimum(position, len(ordered) - 1)] == key(ends_xy, wanted)
    other = np.searchsorted(ordered, key(ends_xy, -wanted))
    return order[np.where(is_there, position, other)]
