"""Give pixels that no segment has won to the best class, or to the background."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from promptseg.ops.masks import label_components
from promptseg.ops.resize import resize_map, sigmoid


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
    presence: Sequence[float],
    is_thing: Sequence[bool],
    chosen: Sequence[int],
) -> DraftMap:
    """Give every free pixel to the class with the highest presence times probability.

    A pixel of stuff joins the segment of its class. A pixel of a thing joins the nearest object of its class; if there
    is none, the connected parts of such pixels are its objects.

    Args:
        drafts: The segments so far.
        class_logits: Map of each class over the image, shape (C, h, w).
        presence: Of each class.
        is_thing: Whether each class is a thing.
        chosen: The classes that are present; none: nothing is filled.
    """
    free = drafts.segment_ids == 0
    if not free.any() or not chosen:
        return drafts
    size_hw = (free.shape[0], free.shape[1])
    highest = np.full(size_hw, -1.0, dtype=np.float32)
    best = np.zeros(size_hw, dtype=np.int32)
    for index in chosen:
        weighted = np.float32(presence[index]) * sigmoid(resize_map(class_logits[index], size_hw))
        wins = weighted > highest
        highest[wins] = weighted[wins]
        best[wins] = index
    for index in np.unique(best[free]).tolist():
        drafts = fill_with_class(drafts, index, free & (best == index), is_thing=is_thing[index], score=presence[index])
    return drafts


def fill_with_class(
    drafts: DraftMap, class_index: int, pixels: NDArray[np.bool_], *, is_thing: bool, score: float
) -> DraftMap:
    """Give free pixels, bool, shape (H, W), to a class, as `fill_with_best` does; new segments get this score."""
    own = [number for number, one in enumerate(drafts.segments, start=1) if one.class_index == class_index]
    segment_ids = drafts.segment_ids.copy()
    if own and is_thing:
        segment_ids[pixels] = _nearest_ids(segment_ids, own)[pixels]
        return DraftMap(segment_ids, drafts.segments)
    if own:
        segment_ids[pixels] = own[0]
        return DraftMap(segment_ids, drafts.segments)
    parts, num_parts = label_components(pixels) if is_thing else (pixels.astype(np.int32), 1)
    segment_ids[pixels] = len(drafts.segments) + parts[pixels]
    return DraftMap(segment_ids, drafts.segments + (DraftSegment(class_index, is_thing, score),) * num_parts)


def _nearest_ids(segment_ids: NDArray[np.int32], ids: Sequence[int]) -> NDArray[np.int32]:
    """Find the nearest of some segments for each pixel, shape (H, W)."""
    # here and not above: it takes 0.3 s to import
    from scipy import ndimage

    rows, columns = ndimage.distance_transform_edt(
        ~np.isin(segment_ids, ids), return_distances=False, return_indices=True
    )
    nearest: NDArray[np.int32] = segment_ids[rows, columns]
    return nearest
