"""Merge masks that overlap and leave holes into segments: one for each pixel at most.

Two rules are known, and both are here. "things first" (Kirillov et al. 2019): things are laid down by their score, each
on what is still free, and stuff competes for the rest. "all" (Mask2Former): every mask competes for every pixel.

Source:
    Kirillov et al. 2019, "Panoptic Segmentation", arXiv:1801.00868, section 6; Cheng et al. 2022, arXiv:2112.01527;
    facebookresearch/Mask2Former maskformer_model.py, `panoptic_inference` @ 9b0651c (MIT). Differs: what a segment that
    is given up held goes to the next best one, not to nobody.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from promptseg.ops.resize import resize_map, sigmoid
from promptseg.results.filling import DraftMap, DraftSegment
from promptseg.results.instance import Instance

Contest = Literal["things first", "all"]
Window = tuple[slice, slice]


@dataclass(frozen=True)
class MergeSettings:
    """How masks become segments.

    Attributes:
        contest: Which masks compete for a pixel: "things first" or "all".
        mask_threshold: Probability, given that the object is there, from which a pixel may belong to a mask.
        min_score: Candidates of a lower score are left out.
        min_visible_share: A segment is given up if less than this share of its masks is left to it.
        min_area: A segment of fewer pixels is given up.
        min_stuff_share: The same for stuff, as a share of the image.
    """

    contest: Contest = "things first"
    mask_threshold: float = 0.5
    min_score: float = 0.0
    min_visible_share: float = 0.5
    min_area: int = 1
    min_stuff_share: float = 0.0


@dataclass(frozen=True, eq=False)
class SegmentCandidate:
    """A mask that may become a segment.

    Attributes:
        class_index: Its class, from 0.
        is_thing: Whether it is one object; candidates of one stuff class become one segment.
        score: Probability that it is there, and of its class.
        mask: An object with a mask of its own, or logits over the whole image, shape (h, w), at any resolution.
    """

    class_index: int
    is_thing: bool
    score: float
    mask: Instance | NDArray[np.float32]

    def __repr__(self) -> str:
        kind = "thing" if self.is_thing else "stuff"
        return f"<SegmentCandidate class_index={self.class_index} {kind} score={self.score:.2f}>"

    def probability(self, size_hw: tuple[int, int]) -> tuple[Window, NDArray[np.float32]]:
        """Compute its probability in a window (rows, columns) of the image; outside it, the probability is 0."""
        if isinstance(self.mask, Instance):
            left, top, right, bottom = self.mask.box_xyxy
            return (slice(top, bottom), slice(left, right)), self.mask.box_mask.astype(np.float32)
        return (slice(0, size_hw[0]), slice(0, size_hw[1])), sigmoid(resize_map(self.mask, size_hw))


def merge_segments(
    candidates: Sequence[SegmentCandidate], size_hw: tuple[int, int], settings: MergeSettings = MergeSettings()
) -> DraftMap:
    """Give every pixel to one segment at most.

    Args:
        candidates: In any order; of equal scores the earlier one counts as the better one.
        size_hw: Height and width of the image, pixels.
        settings: The rule and its thresholds.

    Returns:
        The segments, the largest first; the score of stuff is that of the best candidate of its class.
    """
    groups = _group(candidates, settings.min_score)
    canvas = _Canvas(candidates, groups, size_hw, settings)
    things = [index for index, group in enumerate(groups) if candidates[group[0]].is_thing]
    competing = set(range(len(groups)))
    laid = np.full(size_hw, -1, dtype=np.int32)
    if settings.contest == "things first":
        canvas.lay_down(things, laid)
        competing -= set(things)
    while True:
        owners = canvas.contest(competing, laid)
        lost = canvas.find_lost(competing, owners)
        if not lost:
            best = (candidates[group[0]] for group in groups)
            segments = tuple(DraftSegment(one.class_index, one.is_thing, one.score) for one in best)
            return DraftMap(owners + np.int32(1), segments).sort()
        competing -= lost


class _Canvas:
    """The candidates of one image, by segment."""

    def __init__(
        self,
        candidates: Sequence[SegmentCandidate],
        groups: Sequence[tuple[int, ...]],
        size_hw: tuple[int, int],
        settings: MergeSettings,
    ) -> None:
        self._groups = [[candidates[index] for index in group] for group in groups]
        self._size_hw = size_hw
        self._settings = settings

    def lay_down(self, things: Iterable[int], owners: NDArray[np.int32]) -> None:
        """Lay down things one after the other, each on the pixels that are still free; `owners` is changed."""
        for index in things:
            window, probability = self._groups[index][0].probability(self._size_hw)
            inside = probability >= self._settings.mask_threshold
            free = inside & (owners[window] < 0)
            if self._is_kept(index, int(free.sum()), int(inside.sum())):
                owners[window][free] = index

    def contest(self, competing: Collection[int], laid: NDArray[np.int32]) -> NDArray[np.int32]:
        """Give every pixel that nobody has to the mask with the highest score times probability."""
        owners = laid.copy()
        highest = np.where(laid < 0, np.float32(0), np.float32(np.inf))
        inside = np.zeros(self._size_hw, dtype=np.bool_)
        for index in sorted(competing):
            for candidate in self._groups[index]:
                window, probability = candidate.probability(self._size_hw)
                weighted = probability * np.float32(candidate.score)
                wins = weighted > highest[window]
                highest[window][wins] = weighted[wins]
                owners[window][wins] = index
                inside[window][wins] = probability[wins] >= self._settings.mask_threshold
        owners[~inside & (laid < 0)] = -1
        return owners

    def find_lost(self, competing: Collection[int], owners: NDArray[np.int32]) -> set[int]:
        """Find the segments that won something, but too little."""
        won = np.bincount(owners[owners >= 0].ravel(), minlength=len(self._groups))
        return {
            index
            for index in competing
            if won[index] and not self._is_kept(index, int(won[index]), self._mask_area(index))
        }

    def _mask_area(self, index: int) -> int:
        inside = np.zeros(self._size_hw, dtype=np.bool_)
        for candidate in self._groups[index]:
            window, probability = candidate.probability(self._size_hw)
            inside[window] |= probability >= self._settings.mask_threshold
        return int(inside.sum())

    def _is_kept(self, index: int, area: int, mask_area: int) -> bool:
        share = 0.0 if self._groups[index][0].is_thing else self._settings.min_stuff_share
        least = max(1, self._settings.min_area, share * self._size_hw[0] * self._size_hw[1])
        return area >= least and area >= self._settings.min_visible_share * mask_area


def _group(candidates: Sequence[SegmentCandidate], min_score: float) -> list[tuple[int, ...]]:
    """Group the candidates of a stuff class; the group with the best candidate comes first."""
    groups: dict[tuple[bool, int], list[int]] = {}
    for index in sorted(range(len(candidates)), key=lambda index: -candidates[index].score):
        candidate = candidates[index]
        if candidate.score >= min_score:
            key = (True, index) if candidate.is_thing else (False, candidate.class_index)
            groups.setdefault(key, []).append(index)
    return [tuple(group) for group in groups.values()]
