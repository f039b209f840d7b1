"""Panoptic quality (PQ): how many segments were found, and how well they fit.

Source:
    Kirillov et al. 2019, "Panoptic Segmentation", arXiv:1801.00868, section 4; cocodataset/panopticapi evaluation.py
    @ 7bb4655 (BSD). Written anew; the tests compare the two.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from promptseg.metrics.statistics import Floats, divide

Ids = NDArray[np.integer]

# A predicted and a true segment are the same from this IoU on; at most one pair of a pixel can reach it.
MATCH_IOU = 0.5
# A predicted segment that is nobody's is no error where more than this share of it lies on pixels without a truth.
IGNORED_SHARE = 0.5


@dataclass(frozen=True)
class SegmentCounts:
    """The segments of one class in one image.

    Attributes:
        matched: Predicted segments that match a true one of their class.
        spurious: Predicted segments that match none.
        missed: True segments that no predicted one matches.
        iou_sum: Sum of the IoU of the matched pairs.
    """

    matched: int = 0
    spurious: int = 0
    missed: int = 0
    iou_sum: float = 0.0


def count_segments(
    predicted_ids: Ids,
    predicted_classes: Mapping[int, int],
    true_ids: Ids,
    true_classes: Mapping[int, int],
    *,
    crowd_ids: Collection[int] = (),
) -> dict[int, SegmentCounts]:
    """Match the segments of an image with the true ones, class by class.

    Args:
        predicted_ids: Segment of each pixel, shape (H, W); 0: none.
        predicted_classes: Class of each predicted segment.
        true_ids: True segment of each pixel, shape (H, W); 0: no truth is known.
        true_classes: Class of each true segment.
        crowd_ids: True segments that are groups: nobody has to find them, and what lies on them is no error of their
            class.

    Returns:
        The counts of every class that is predicted or true.

    Raises:
        ValueError: The shapes differ.
    """
    if predicted_ids.shape != true_ids.shape:
        raise ValueError(f"the prediction is {predicted_ids.shape}, the truth {true_ids.shape}; both are (H, W)")
    shared = _count_shared(predicted_ids, true_ids)
    predicted_areas, true_areas = _areas(predicted_ids), _areas(true_ids)
    ious: dict[tuple[int, int], float] = {}
    for (predicted, true), area in shared.items():
        if not predicted or not true or true in crowd_ids or predicted_classes[predicted] != true_classes[true]:
            continue
        on_void = shared.get((predicted, 0), 0)
        iou = area / (predicted_areas[predicted] + true_areas[true] - area - on_void)
        if iou > MATCH_IOU:
            ious[predicted, true] = iou
    found = {predicted for predicted, _ in ious}
    hit = {true for _, true in ious}
    counts: dict[int, list[float]] = {}
    for (predicted, _), iou in ious.items():
        row = counts.setdefault(predicted_classes[predicted], [0, 0, 0, 0.0])
        row[0] += 1
        row[3] += iou
    for predicted, class_id in predicted_classes.items():
        if predicted in found or not predicted_areas.get(predicted):
            continue
        own_crowds = [true for true in crowd_ids if true_classes[true] == class_id]
        ignored = sum(shared.get((predicted, true), 0) for true in (0, *own_crowds))
        if ignored <= IGNORED_SHARE * predicted_areas[predicted]:
            counts.setdefault(class_id, [0, 0, 0, 0.0])[1] += 1
    for true, class_id in true_classes.items():
        if true not in hit and true not in crowd_ids and true_areas.get(true):
            counts.setdefault(class_id, [0, 0, 0, 0.0])[2] += 1
    return {
        class_id: SegmentCounts(int(matched), int(spurious), int(missed), float(iou_sum))
        for class_id, (matched, spurious, missed, iou_sum) in counts.items()
    }


def class_qualities(
    matched: Floats, spurious: Floats, missed: Floats, iou_sums: Floats
) -> tuple[Floats, Floats, Floats]:
    """Compute the panoptic, segmentation and recognition quality of classes.

    Args:
        matched: Matched segments of each class over all images, of any shape.
        spurious: Likewise.
        missed: Likewise.
        iou_sums: Likewise.

    Returns:
        PQ, SQ and RQ of each class, of the same shape; nan for a class without any segment. SQ is 0 where none matched,
        as in panopticapi, so that it is no mean over other classes than PQ.
    """
    weight = matched + (spurious + missed) / 2
    quality = divide(iou_sums, weight)
    fit = np.where(np.isnan(quality), np.nan, np.nan_to_num(divide(iou_sums, matched)))
    return quality, fit, divide(matched, weight)


def _count_shared(predicted_ids: Ids, true_ids: Ids) -> dict[tuple[int, int], int]:
    """Count the pixels that each pair of a predicted and a true segment shares."""
    base = int(true_ids.max(initial=0)) + 1
    pairs, areas = np.unique(predicted_ids.astype(np.int64) * base + true_ids, return_counts=True)
    return {(pair // base, pair % base): area for pair, area in zip(pairs.tolist(), areas.tolist(), strict=True)}


def _areas(ids: Ids) -> dict[int, int]:
    values, areas = np.unique(ids, return_counts=True)
    return dict(zip(values.tolist(), areas.tolist(), strict=True))
