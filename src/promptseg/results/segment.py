"""One segment of a panoptic map."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Segment:
    """One segment of a panoptic map.

    Attributes:
        id: Its value in `Panoptic.segment_ids`, from 1; the largest segment is 1.
        label: The class.
        is_thing: Whether it is one object; all stuff of a class is one segment.
        score: Probability that it is there and of its class, in [0, 1].
        area: Number of its pixels.
        box_xyxy: The tight box, whole pixels: (left, top, right, bottom), right and bottom exclusive.
    """

    id: int
    label: str
    is_thing: bool
    score: float
    area: int
    box_xyxy: tuple[int, int, int, int]


def number_segments(segment_ids: NDArray[np.int32], named: Sequence[tuple[str, bool, float]]) -> tuple[Segment, ...]:
    """Describe the segments of a map.

    Args:
        segment_ids: Shape (H, W), 0 for none; every id from 1 to N has a pixel.
        named: Label, whether it is a thing, and score of each of the N segments.
    """
    # here and not above: it takes 0.3 s to import
    from scipy import ndimage

    areas = np.bincount(segment_ids.ravel(), minlength=len(named) + 1)
    windows = ndimage.find_objects(segment_ids, max_label=len(named))
    return tuple(
        Segment(
            number,
            label,
            is_thing,
            score,
            int(areas[number]),
            (columns.start, rows.start, columns.stop, rows.stop),
        )
        for number, ((label, is_thing, score), (rows, columns)) in enumerate(zip(named, windows, strict=True), start=1)
    )
