"""Convert masks to polygons along the edges of their pixels, and back, without loss.

Corners are whole numbers: pixel (x, y) covers x to x + 1 and y to y + 1. A file format that rounds by less than half a
pixel restores the same mask. For formats without holes, or with one ring an object, rings are joined by lines of zero
width, which enclose no area. scipy is imported inside the functions that need it.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Ring = NDArray[Any]

TOLERANCE = 0.5
"""Tolerance of the outlines that formats write, pixels: an edge of a mask is no more exact than half a pixel."""

_CHANGED_SHARE = 0.02
# The tolerances that an outline is smoothed by, pixels. A fixed list, from which each outline gets the largest one that
# suits it and that the caller allows: so a larger tolerance never gives more corners.
_TOLERANCES = tuple(2.0 ** (step / 4) for step in range(4 * 12, -4 * 3 - 1, -1))
_FARTHEST = 1e9


@dataclass(frozen=True, eq=False)
class Polygon:
    """One connected area with its holes.

    Rings that were traced (`trace_polygons`) never cross or touch themselves, and touch each other in corners only.

    Attributes:
        outer: Corners (x, y), whole pixels (of smoothed outlines also half ones), shape (P, 2), not closed; clockwise
            on the screen, so its shoelace area is positive.
        holes: The same for each hole, counter-clockwise.
    """

    outer: Ring
    holes: tuple[Ring, ...] = ()

    def __repr__(self) -> str:
        return f"<Polygon corners={len(self.outer)} holes={len(self.holes)}>"


def trace_polygons(mask: NDArray[np.bool_], *, origin_xy: tuple[int, int] = (0, 0)) -> tuple[Polygon, ...]:
    """Trace the edges of a mask.

    Args:
        mask: bool, shape (H, W).
        origin_xy: Position of the mask's top left corner in the image, pixels.

    Returns:
        One polygon for each part that is connected by edges (parts that meet in a corner only are two), in reading
        order.
    """
    from scipy import ndimage

    labels, num_parts = ndimage.label(mask)
    parts: list[list[Ring]] = [[] for _ in range(num_parts)]
    for part, ring in _trace_rings(labels):
        parts[part - 1].append(ring + np.array(origin_xy))
    # the outer ring of a part has a positive area, its holes have negative ones
    ordered = (sorted(rings, key=ring_area, reverse=True) for rings in parts)
    return tuple(Polygon(outer, tuple(holes)) for outer, *holes in ordered)


def simplify_polygons(polygons: Sequence[Polygon], tolerance: float) -> tuple[Polygon, ...]:
    """Drop corners that are close to the simplified line.

    Args:
        polygons: As `trace_polygons` returns them.
        tolerance: Largest distance from a dropped corner to the new line, pixels; 0 drops nothing.

    Returns:
        One polygon for each, whose corners are some of its own, in order. A hole that loses its area is dropped; an
        outer ring that would lose its area gets a smaller tolerance. Simplified rings may touch or cross each other.
        A larger tolerance never gives more corners.

    Source:
        Douglas and Peucker 1973, "Algorithms for the reduction of the number of points required to represent a
        digitized line or its caricature". A ring is cut into two lines at two corners that lie far apart.
    """
    if tolerance <= 0:
        return tuple(polygons)
    simplified = []
    for polygon in polygons:
        holes = (_simplify_ring(hole, tolerance) for hole in polygon.holes)
        simplified.append(
            Polygon(_simplify_outer(polygon.outer, tolerance), tuple(hole for hole in holes if ring_area(hole) < 0))
        )
    return tuple(simplified)


def _simplify_outer(ring: Ring, tolerance: float) -> Ring:
    """Simplify an outer ring by the largest tolerance up to this one that leaves it an area."""
    simplified = _simplify_ring(ring, tolerance)
    if ring_area(simplified) > 0:
        return simplified
    corners, heights = _rank_corners(ring, least=0.0)
    for height in np.unique(heights[heights <= tolerance])[::-1]:
        simplified = corners[heights >= height]
        if ring_area(simplified) > 0:
            return simplified
    return corners


def smooth_polygons(polygons: Sequence[Polygon], tolerance: float) -> tuple[Polygon, ...]:
    """Replace the steps of pixels by the lines that they stand for, so that people can edit the outlines.

    Args:
        polygons: As `trace_polygons` returns them.
        tolerance: Largest distance from a dropped corner to the new line, pixels; 0 changes nothing.

    Returns:
        One polygon for each, its corners at whole or half pixels. Corners of steps of one pixel are cut first, through
        the middle of their edges; that moves the outline by half a pixel at most. Then corners are dropped as
        `simplify_polygons` does, by `tolerance` or up to a sixth less. Where that would change more than 2 % of the
        pixels in a ring for each pixel of tolerance, the ring gets a smaller tolerance, or stays as it was: small
        objects and holes keep their pixels. A larger tolerance never gives more corners.
    """
    if tolerance <= 0:
        return tuple(polygons)
    return tuple(
        Polygon(_smooth_ring(polygon.outer, tolerance), tuple(_smooth_ring(hole, tolerance) for hole in polygon.holes))
        for polygon in polygons
    )


def _smooth_ring(ring: Ring, tolerance: float) -> Ring:
    origin = ring.min(axis=0)
    width, height = (ring.max(axis=0) - origin).tolist()
    inside = fill_rings([ring - origin], (height, width))
    cut = _cut_steps(ring)
    for each in (listed for listed in _TOLERANCES if listed <= tolerance):
        smooth = _simplify_ring(cut, each)
        if len(smooth) >= len(ring):  # cut steps have two corners for one
            return ring
        changed = fill_rings([smooth - origin], (height, width)) ^ inside
        # A sliver may hold the centers of a line of pixels, but other programs see less of it.
        is_sliver = abs(ring_area(smooth)) < 0.9 * abs(ring_area(ring))
        if not is_sliver and changed.sum() <= _CHANGED_SHARE * tolerance * inside.sum():
            return smooth
    return ring


def _cut_steps(ring: Ring) -> Ring:
    """Replace each corner by the middles of its two edges, where it lies half a pixel from their line at most."""
    before, after = np.roll(ring, 1, axis=0), np.roll(ring, -1, axis=0)
    length, next_length = np.abs(ring - before).sum(axis=1), np.abs(after - ring).sum(axis=1)
    # The height of the right triangle of two half edges, at most 1/2.
    is_cut = length * next_length <= np.hypot(length, next_length)
    middles = np.stack([(before + ring) / 2, (ring + after) / 2], axis=1)
    corners = np.where(is_cut[:, None, None], middles, np.stack([ring, ring], axis=1)).reshape(-1, 2)
    return np.asarray(corners[(corners != np.roll(corners, 1, axis=0)).any(axis=1)])


def _simplify_ring(ring: Ring, tolerance: float) -> Ring:
    corners, heights = _rank_corners(ring, least=tolerance)
    return corners[heights > tolerance]


def _rank_corners(ring: Ring, *, least: float) -> tuple[Ring, NDArray[np.float64]]:
    """Compute for each corner the tolerance from which on it is dropped, pixels; what lies below `least` becomes 0.

    Returns:
        The corners from another one on, and their tolerances, shape (P,); those of the two that cut the ring are
        infinite.
    """
    start = int(np.argmax(np.square(ring - ring.mean(axis=0)).sum(axis=1)))
    closed = np.concatenate([np.roll(ring, -start, axis=0), ring[start : start + 1]])
    middle = int(np.argmax(np.square(closed - closed[0]).sum(axis=1)))
    heights = np.zeros(len(closed))
    heights[[0, middle]] = np.inf
    pending = [(0, middle, np.inf), (middle, len(closed) - 1, np.inf)]
    while pending:
        first, last, height = pending.pop()
        if last - first < 2:
            continue
        distances = _distances_to_segment(closed[first + 1 : last], closed[first], closed[last])
        farthest = first + 1 + int(np.argmax(distances))
        # a corner is dropped with the one whose line it was measured from
        height = min(height, float(distances.max()))
        if height > least:
            heights[farthest] = height
            pending += [(first, farthest, height), (farthest, last, height)]
    return closed[:-1], heights[:-1]


def _distances_to_segment(points: Ring, start: Ring, stop: Ring) -> NDArray[np.float64]:
    """Measure the distance of each point, shape (P, 2), to the line from `start` to `stop`, shape (P,)."""
    direction = (stop - start).astype(np.float64)
    share = np.clip((points - start) @ direction / max(float(direction @ direction), 1e-12), 0.0, 1.0)
    foot = start + share[:, None] * direction
    return np.hypot(*(points - foot).T)


def ring_area(ring: ArrayLike) -> float:
    """Compute the signed area of a ring by the shoelace formula; positive when the ring is clockwise on screen."""
    x, y = np.asarray(ring, dtype=np.float64).T
    return float(np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y)) / 2


def join_holes(polygon: Polygon) -> Ring:
    """Make one ring of an area and its holes: a line goes from each hole straight up to the next ring, and back.

    Where edges are slanted, the lines go between near corners.
    """
    if not _is_axis_parallel(polygon):
        return _join_rings([polygon.outer, *polygon.holes])
    # Sorted from the top down, each starting at its upper left corner, so that the ring its line hits comes before it.
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
    """Make one ring of one or more areas: a line ties each to a near one before it, between their nearest corners."""
    return _join_rings([join_holes(polygon) for polygon in polygons])


def _is_axis_parallel(polygon: Polygon) -> bool:
    """Tell whether every edge is horizontal or vertical, as traced ones are."""
    return all(bool(((ring == np.roll(ring, 1, axis=0)).any(axis=1)).all()) for ring in (polygon.outer, *polygon.holes))


def _join_rings(rings: list[Ring]) -> Ring:
    """Make one ring: a line ties each to a near one before it, between their nearest corners."""
    from scipy.spatial import KDTree

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
    """Join rings to the first one by lines of zero width.

    Args:
        rings: The rings; each starts at the end of its line.
        ties: Start of the line of each ring except the first: the index of an earlier ring, the index of the corner
            before the start, and the point, shape (1, 2).
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
    """Fill the area between rings: a pixel belongs to it if its center lies inside an odd number of rings.

    Args:
        rings: Corners (x, y), pixels, shape (P, 2), at most 10^9 from the origin; parts outside the image are cut off.
        size_hw: Height and width of the image, pixels.

    Returns:
        bool, shape `size_hw`.

    Raises:
        ValueError: A corner is not finite, or further away.
    """
    height, width = size_hw
    toggles = np.zeros((height, width + 1), dtype=np.bool_)
    for ring in rings:
        corners = np.asarray(ring, dtype=np.float64).reshape(-1, 2)
        if not (np.abs(corners) <= _FARTHEST).all():
            raise ValueError("a ring with a corner that is not finite, or more than 10^9 pixels away")
        edges = np.stack([corners, np.roll(corners, -1, axis=0)], axis=1)
        # every edge is directed downwards, so that a line there and back gives the same numbers twice, which cancel out
        (x0, y0), (x1, y1) = np.moveaxis(np.where((edges[:, :1, 1:] > edges[:, 1:, 1:]), edges[:, ::-1], edges), 0, 2)
        first = np.clip(np.ceil(y0 - 0.5), 0, height).astype(np.int64)
        num_rows = np.clip(np.ceil(y1 - 0.5), 0, height).astype(np.int64) - first
        edge = np.repeat(np.arange(len(edges)), num_rows)
        row = first[edge] + np.arange(len(edge)) - np.repeat(np.cumsum(num_rows) - num_rows, num_rows)
        x = x0[edge] + (row + 0.5 - y0[edge]) * (x1 - x0)[edge] / (y1 - y0)[edge]
        np.logical_xor.at(toggles, (row, np.clip(np.ceil(x - 0.5), 0, width).astype(np.int64)), True)
    return np.logical_xor.accumulate(toggles, axis=1)[:, :width]


def _trace_rings(labels: NDArray[np.int32]) -> Iterator[tuple[int, Ring]]:
    """Follow the edges of parts with the part on the right-hand side; yield label and corners of each ring."""
    labels = np.pad(labels, 1)
    inside = (labels > 0).astype(np.int8)
    # a run is a straight sequence of edges with the same direction: +1 right or down, -1 left or up
    y, left, right, heading = _runs(inside[1:, 1:-1] - inside[:-1, 1:-1])
    x, upper, lower, sinking = _runs((inside[1:-1, :-1] - inside[1:-1, 1:]).T)
    starts = np.stack([np.where(heading > 0, left, right), y], axis=1)
    ends = np.stack([np.where(heading > 0, right, left), y], axis=1)
    vertical_starts = np.stack([x, np.where(sinking > 0, upper, lower)], axis=1)
    vertical_ends = np.stack([x, np.where(sinking > 0, lower, upper)], axis=1)
    # Where four edges meet, two pixels meet in a corner. If they belong to one part, its ring turns left there, so that
    # it never touches itself; otherwise it turns right and stays with its part. A left turn from right is up, and from
    # down it is right.
    to_vertical = _follow(ends, np.where(_is_one_part(labels, ends), -heading, heading), vertical_starts, sinking)
    turns = np.where(_is_one_part(labels, vertical_ends), sinking, -sinking)
    to_horizontal = _follow(vertical_ends, turns, starts, heading)
    successor = to_horizontal[to_vertical].tolist()
    # label of the pixel on the right-hand side of each run, in the padded array
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
    """Test whether two pixels that meet in a corner belong to the same part; labels are padded by one."""
    x, y = corners_xy.T
    upper_left, lower_right = labels[y, x], labels[y + 1, x + 1]
    upper_right, lower_left = labels[y, x + 1], labels[y + 1, x]
    return np.where(upper_left > 0, upper_left == lower_right, upper_right == lower_left)


def _runs(steps: NDArray[np.int8]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Find the runs of equal non-zero values in rows: row, first column, last column + 1, value."""
    padded = np.pad(steps, ((0, 0), (1, 1)))
    is_start = (padded[:, 1:] != padded[:, :-1]) & (padded[:, 1:] != 0)
    is_stop = (padded[:, 1:] != padded[:, :-1]) & (padded[:, :-1] != 0)
    row, start = np.nonzero(is_start)
    _, stop = np.nonzero(is_stop)
    return row, start, stop, steps[row, start].astype(np.int64)


def _follow(
    ends_xy: Ring, wanted: NDArray[np.int64], starts_xy: Ring, directions: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Find the run that starts at each end; of two such runs, the one with the wanted direction."""
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
