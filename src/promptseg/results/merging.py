"""Merge masks that overlap and leave holes into segments: one for each pixel at most.

Two rules are known, and both are here. "things first" (Kirillov et al. 2019): things are laid down by their score, each
on what is still free, and stuff competes for the rest. "all" (Mask2Former): every mask competes for every pixel.

Source:
    Kirillov et al. 2019, "Panoptic Segmentation", arXiv:1801.00868, section 6; Cheng et al. 2022, arXiv:2112.01527;
    facebookresearch/Mask2Former maskformer_model.py, `panoptic_inference` @ 9b0651c (MIT). Differs: what a segment that
    is given up held goes to the next best one, not to nobody; with "things first", stuff competes by log odds.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from promptseg.ops.resize import clipped_logit, logit, resize_map, sigmoid
from promptseg.results.filling import DraftMap, DraftSegment
from promptseg.results.instance import Instance

Contest = Literal["things first", "all"]
Map = NDArray[np.float32]
Owners = NDArray[np.int32]
Window = tuple[slice, slice]

# As good as sure, for the mask of an object that has no probabilities.
_SURE_LOGIT = np.float32(20.0)


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
        max_inset_share: An object that lies on an object of another class, and has at most this share of its area, is
            drawn on top of it: a tie on a person. 0: never.
        min_inset_score: Minimum score of such an object.
        min_island_share: Parts of a segment besides its largest one, and holes, that are smaller than this share of the
            image go to what is around them.
        max_gap_share: Strips without a segment that are narrower than this share of the shorter side of the image go to
            the stuff beside them: the mask of an object and that of what is around it rarely meet. 0: never.
        presence_weight: With "things first", stuff competes by its logits plus this weight times the logit of presence.
        min_fill_score: Where every pixel is to be filled, minimum score of a candidate.
    """

    contest: Contest = "things first"
    mask_threshold: float = 0.5
    min_score: float = 0.0
    min_visible_share: float = 0.5
    min_area: int = 1
    min_stuff_share: float = 0.0
    max_inset_share: float = 0.0
    min_inset_score: float = 0.5
    min_island_share: float = 0.0
    max_gap_share: float = 0.0
    presence_weight: float = 1.0
    min_fill_score: float = 0.0

    def for_filling(self) -> "MergeSettings":
        """Give the settings for a map without free pixels: nothing is given up for being small or hidden, and
        gaps go to the best class.
        """
        return replace(
            self, min_score=self.min_fill_score, min_visible_share=0.0, min_stuff_share=0.0, max_gap_share=0.0
        )


DEFAULT_SETTINGS = MergeSettings()


@dataclass(frozen=True, eq=False)
class SegmentCandidate:
    """A mask that may become a segment.

    Attributes:
        class_index: Its class, from 0.
        is_thing: Whether it is one object; candidates of one stuff class become one segment.
        score: Probability that it is there, and of its class.
        mask: An object with a mask of its own, or logits over the whole image, shape (h, w), at any resolution.
        presence: Probability that its class is in the image.
    """

    class_index: int
    is_thing: bool
    score: float
    mask: Instance | NDArray[np.float32]
    presence: float = 0.5

    def __repr__(self) -> str:
        kind = "thing" if self.is_thing else "stuff"
        return f"<SegmentCandidate class_index={self.class_index} {kind} score={self.score:.2f}>"

    def logits(self, size_hw: tuple[int, int], grid_hw: tuple[int, int]) -> tuple[Window, Map]:
        """Give its logits in a window (rows, columns) of a grid over the image; outside it, it is nowhere.

        Args:
            size_hw: Height and width of the image, pixels.
            grid_hw: Rows and columns of the grid; the mask of an object needs the pixels of the image.
        """
        if not isinstance(self.mask, Instance):
            return (slice(0, grid_hw[0]), slice(0, grid_hw[1])), resize_map(self.mask, grid_hw)
        assert grid_hw == size_hw
        left, top, right, bottom = self.mask.box_xyxy
        inside = np.where(self.mask.box_mask, _SURE_LOGIT, -_SURE_LOGIT)
        return (slice(top, bottom), slice(left, right)), inside


def merge_segments(
    candidates: Sequence[SegmentCandidate], size_hw: tuple[int, int], settings: MergeSettings = DEFAULT_SETTINGS
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
    merge = _Merge(groups, size_hw, settings)
    competing = [index for index, group in enumerate(groups) if settings.contest == "all" or not group[0].is_thing]
    things = [index for index in range(len(groups)) if index not in set(competing)]
    laid = merge.lay_down(things)
    owners = merge.contest(merge.settle(competing, laid), laid)
    segments = tuple(DraftSegment(group[0].class_index, group[0].is_thing, group[0].score) for group in groups)
    drafts = DraftMap(owners + np.int32(1), segments)
    drafts = drafts.without_small(settings.min_area).without_gaps(settings.max_gap_share * min(size_hw))
    return drafts.without_islands(settings.min_island_share * owners.size).sort()  # crumbs of gaps are islands too


class _Merge:
    """The candidates of one image by segment; owners are indexes of segments, -1 for none."""

    def __init__(
        self, groups: Sequence[Sequence[SegmentCandidate]], size_hw: tuple[int, int], settings: MergeSettings
    ) -> None:
        self._groups = groups
        self._size_hw = size_hw
        self._settings = settings
        self._edge = np.float32(logit(settings.mask_threshold))

    def lay_down(self, things: Sequence[int]) -> Owners:
        """Lay down things one after the other, each on the pixels that are still free."""
        owners = np.full(self._size_hw, -1, dtype=np.int32)
        areas: dict[int, int] = {}
        for index in things:
            window, logits = self._groups[index][0].logits(self._size_hw, self._size_hw)
            inside = logits >= self._edge
            free = inside & (owners[window] < 0)
            if not self._is_kept(index, int(free.sum()), int(inside.sum()), 1.0):
                if not self._is_inset(index, owners[window][inside], areas):
                    continue
                free = inside
            owners[window][free] = index
            areas[index] = int(inside.sum())
        return owners

    def _is_inset(self, index: int, below: Owners, areas: Mapping[int, int]) -> bool:
        """Whether an object is to be drawn on top of what it lies on.

        Args:
            index: The object.
            below: Who owns the pixels of its mask, shape (P,).
            areas: Pixels in the masks of the objects that were laid down.
        """
        thing = self._groups[index][0]
        if not below.size or thing.score < self._settings.min_inset_score or below.size < self._settings.min_area:
            return False
        owners, counts = np.unique(below[below >= 0], return_counts=True)
        if not len(owners) or counts.max() < self._settings.min_visible_share * below.size:
            return False
        under = int(owners[counts.argmax()])
        is_other = self._groups[under][0].class_index != thing.class_index
        return is_other and below.size <= self._settings.max_inset_share * areas[under]

    def settle(self, competing: Sequence[int], laid: Owners) -> list[int]:
        """Give up segments that win too little, one by one, until all others win enough.

        What has maps is settled on the grid of the maps: there it costs little.
        """
        grid_hw = self._grid(competing)
        rows, columns = (
            (np.arange(cells) * 2 + 1) * side // (2 * cells) for side, cells in zip(self._size_hw, grid_hw, strict=True)
        )
        laid = laid[np.ix_(rows, columns)]
        mask_areas = {index: self._mask_area(index, grid_hw) for index in competing}
        left = list(competing)
        pixels = self._size_hw[0] * self._size_hw[1] / (grid_hw[0] * grid_hw[1])
        while True:
            won = np.bincount(self.contest(left, laid).ravel() + 1, minlength=len(self._groups) + 1)[1:]
            lost = [
                index
                for index in left
                if won[index] and not self._is_kept(index, won[index], mask_areas[index], pixels)
            ]
            if not lost:
                return left
            left.remove(min(lost, key=lambda index: won[index] / mask_areas[index]))

    def contest(self, competing: Collection[int], laid: Owners) -> Owners:
        """Give every cell of a grid that nobody has to the best mask on it.

        Args:
            competing: The segments that compete.
            laid: Who has each cell already, shape of the grid.
        """
        grid_hw = (laid.shape[0], laid.shape[1])
        owners = laid.copy()
        highest = np.full(grid_hw, -np.inf, dtype=np.float32)
        inside = np.zeros(grid_hw, dtype=np.bool_)
        for index in competing:
            for candidate in self._groups[index]:
                window, logits = candidate.logits(self._size_hw, grid_hw)
                evidence = self._weigh(logits, candidate)
                wins = (evidence > highest[window]) & (laid[window] < 0)
                highest[window][wins] = evidence[wins]
                owners[window][wins] = index
                inside[window][wins] = logits[wins] >= self._edge
        owners[~inside & (laid < 0)] = -1
        return owners

    def _weigh(self, logits: Map, candidate: SegmentCandidate) -> Map:
        if self._settings.contest == "all":
            return sigmoid(logits) * np.float32(candidate.score)
        return logits + np.float32(self._settings.presence_weight) * clipped_logit(candidate.presence)

    def _grid(self, competing: Sequence[int]) -> tuple[int, int]:
        """Choose a grid: that of the maps where all have maps, else the pixels."""
        shapes = {
            self._size_hw if isinstance(candidate.mask, Instance) else candidate.mask.shape[:2]
            for index in competing
            for candidate in self._groups[index]
        }
        height, width = max(shapes, default=self._size_hw)
        return min(height, self._size_hw[0]), min(width, self._size_hw[1])

    def _mask_area(self, index: int, grid_hw: tuple[int, int]) -> int:
        inside = np.zeros(grid_hw, dtype=np.bool_)
        for candidate in self._groups[index]:
            window, logits = candidate.logits(self._size_hw, grid_hw)
            inside[window] |= logits >= self._edge
        return max(int(inside.sum()), 1)

    def _is_kept(self, index: int, area: int, mask_area: int, pixels: float) -> bool:
        """Whether a segment has enough; areas are in cells of so many pixels."""
        share = 0.0 if self._groups[index][0].is_thing else self._settings.min_stuff_share
        least = max(1, self._settings.min_area, share * self._size_hw[0] * self._size_hw[1])
        return area * pixels >= least and area >= self._settings.min_visible_share * mask_area


def _group(candidates: Sequence[SegmentCandidate], min_score: float) -> list[tuple[SegmentCandidate, ...]]:
    """Group the candidates of a stuff class; the group with the best candidate comes first."""
    groups: dict[tuple[bool, int], list[SegmentCandidate]] = {}
    for index in sorted(range(len(candidates)), key=lambda index: -candidates[index].score):
        candidate = candidates[index]
        if candidate.score >= min_score:
            key = (True, index) if candidate.is_thing else (False, candidate.class_index)
            groups.setdefault(key, []).append(candidate)
    return [tuple(group) for group in groups.values()]
