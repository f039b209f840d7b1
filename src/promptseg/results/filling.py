"""Give pixels that no segment has won to the best class, or to the background."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from promptseg.ops.masks import iterate_components, label_components
from promptseg.ops.resize import resize_map
from promptseg.results.query_result import MIN_INSTANCE_SHARE


@dataclass(frozen=True)
class DraftSegment:
    """A segment before its pixels are counted: its class, from 0, whether it is one object, and its score."""

    class_index: int
    is_thing: bool
    score: float


@dataclass(frozen=True, eq=False)
class DraftMap:
    """Segments that may still grow.

    Attributes:
        segment_ids: Shape (H, W), int32: k + 1 for the segment k, 0 for none.
        segments: The segments k.
    """

    segment_ids: NDArray[np.int32]
    segments: tuple[DraftSegment, ...]

    def without_small(self, min_area: int) -> "DraftMap":
        """Take the pixels of segments with fewer of them than this away."""
        areas = np.bincount(self.segment_ids.ravel(), minlength=len(self.segments) + 1)
        return DraftMap(np.where(areas[self.segment_ids] < min_area, np.int32(0), self.segment_ids), self.segments)

    def without_islands(self, min_area: float) -> "DraftMap":
        """Give parts of segments, and holes, with fewer pixels than this to the nearest segment.

        The largest part of a segment stays whatever its size.
        """
        small = np.zeros(self.segment_ids.shape, dtype=np.bool_)
        if min_area <= 1:
            return self
        for number in range(len(self.segments) + 1):
            parts, num_parts = label_components(self.segment_ids == number)
            areas = np.bincount(parts.ravel(), minlength=num_parts + 1)
            areas[0] = 0
            lost = areas < min_area
            lost[0] = False
            if number and num_parts:
                lost[areas.argmax()] = False
            small |= lost[parts]
        if not small.any() or small.all():
            return self
        return DraftMap(np.where(small, _nearest(self.segment_ids, ~small), self.segment_ids), self.segments)

    def without_gaps(self, width: float) -> "DraftMap":
        """Give strips of free pixels that are narrower than this, pixels, to the stuff that is nearer than this.

        Things do not grow: their masks are the sharper ones. Free pixels that only touch things stay free.
        """
        free = self.segment_ids == 0
        stuff = np.isin(self.segment_ids, [k for k, one in enumerate(self.segments, start=1) if not one.is_thing])
        side = int(width) // 2 * 2 + 1  # odd: the square has a middle
        if side <= 1 or not free.any() or not stuff.any():
            return self
        # here and not above: it takes 0.3 s to import
        from scipy import ndimage

        # an opening by a square leaves what is wide
        wide = ndimage.maximum_filter(ndimage.minimum_filter(free, side), side)
        narrow = free & ~wide
        if not narrow.any():
            return self
        distance, (rows, columns) = ndimage.distance_transform_edt(~stuff, return_indices=True)
        closed = narrow & (distance <= width)
        return DraftMap(np.where(closed, self.segment_ids[rows, columns], self.segment_ids), self.segments)

    def sort(self) -> "DraftMap":
        """Number the segments by their area, the largest first; those without a pixel are left out."""
        areas = np.bincount(self.segment_ids.ravel(), minlength=len(self.segments) + 1)[1:]
        order = [index for index in np.argsort(-areas, kind="stable").tolist() if areas[index]]
        new_ids = np.zeros(len(self.segments) + 1, dtype=np.int32)
        new_ids[np.array(order, dtype=np.int64) + 1] = np.arange(1, len(order) + 1)
        return DraftMap(new_ids[self.segment_ids], tuple(self.segments[index] for index in order))


def fill_with_best(
    drafts: DraftMap,
    class_logits: NDArray[np.float32],
    is_thing: Sequence[bool],
    scores: Mapping[int, float],
    biases: Mapping[int, float],
) -> DraftMap:
    """Give every free pixel to the class with the highest evidence: its map plus a bias.

    A pixel of stuff joins the segment of its class. A pixel of a thing joins the nearest object of its class; if there
    is none, the large connected parts of such pixels are its objects.

    Args:
        drafts: The segments so far.
        class_logits: Map of each class over the image, shape (C, h, w).
        is_thing: Whether each class is a thing.
        scores: Score of each class that may be given pixels, in [0, 1]; none: nothing is filled.
        biases: Added to the logits of each of these classes.
    """
    free = drafts.segment_ids == 0
    if not free.any() or not scores:
        return drafts
    size_hw = (free.shape[0], free.shape[1])
    highest = np.full(size_hw, -np.inf, dtype=np.float32)
    best = np.zeros(size_hw, dtype=np.int32)
    for index in scores:
        evidence = resize_map(class_logits[index], size_hw) + np.float32(biases[index])
        wins = evidence > highest
        highest[wins] = evidence[wins]
        best[wins] = index
    for index in np.unique(best[free]).tolist():
        drafts = fill_with_class(drafts, index, free & (best == index), is_thing=is_thing[index], score=scores[index])
    return drafts


def fill_with_class(
    drafts: DraftMap, class_index: int, pixels: NDArray[np.bool_], *, is_thing: bool, score: float
) -> DraftMap:
    """Give free pixels, bool, shape (H, W), to a class, as `fill_with_best` does; new segments get this score."""
    segments = list(drafts.segments)
    segment_ids = drafts.segment_ids.copy()
    own = [number for number, one in enumerate(segments, start=1) if one.class_index == class_index]
    if not own:
        windows = iterate_components(pixels, min_share=MIN_INSTANCE_SHARE) if is_thing else [(np.s_[:, :], pixels)]
        for window, part in windows:
            segments.append(DraftSegment(class_index, is_thing, score))
            segment_ids[window][part] = len(segments)
            own.append(len(segments))
    left = pixels & (segment_ids == 0)
    if left.any():
        segment_ids[left] = _nearest(segment_ids, np.isin(segment_ids, own))[left] if len(own) > 1 else own[0]
    return DraftMap(segment_ids, tuple(segments))


def _nearest(segment_ids: NDArray[np.int32], among: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Find the id of the nearest pixel among some, shape (H, W), for each pixel."""
    # here and not above: it takes 0.3 s to import
    from scipy import ndimage

    rows, columns = ndimage.distance_transform_edt(~among, return_distances=False, return_indices=True)
    nearest: NDArray[np.int32] = segment_ids[rows, columns]
    return nearest
