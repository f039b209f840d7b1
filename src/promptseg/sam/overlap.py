"""How masks that are kept as run-length codes of their boxes overlap."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from promptseg.ops.boxes import box_areas
from promptseg.ops.masks import tight_box
from promptseg.ops.rle import encode_rle, rle_area
from promptseg.ops.windows import Window, shared_window
from promptseg.results import Instance


def mask_in(instance: Instance, window: Window) -> NDArray[np.bool_]:
    """Cut a mask out at a window of the image: bool, of the window's size."""
    left, top, right, bottom = window
    shown = np.zeros((bottom - top, right - left), dtype=np.bool_)
    shared = shared_window(instance.box_xyxy, window)
    if shared is not None:
        x0, y0, x1, y1 = shared
        box_left, box_top = instance.box_xyxy[:2]
        inside = instance.box_mask[y0 - box_top : y1 - box_top, x0 - box_left : x1 - box_left]
        shown[y0 - top : y1 - top, x0 - left : x1 - left] = inside
    return shown


def shift_instance(instance: Instance, window: Window, size_hw: tuple[int, int]) -> Instance:
    """Bring an instance of a window of an image into the image, whose height and width are given."""
    left, top = window[:2]
    x0, y0, x1, y1 = instance.box_xyxy
    return replace(instance, box_xyxy=(left + x0, top + y0, left + x1, top + y1), size_hw=size_hw)


def instance_iou(instance: Instance, other: Instance) -> float:
    """Compute the intersection over union of two masks of one image; 0 where both are empty."""
    shared = shared_window(instance.box_xyxy, other.box_xyxy)
    if shared is None:
        return 0.0
    num_shared = int((mask_in(instance, shared) & mask_in(other, shared)).sum())
    return num_shared / max(rle_area(instance.rle) + rle_area(other.rle) - num_shared, 1)


def rank_instance(instance: Instance) -> tuple[float, float]:
    """Give the key by which instances are ranked, the best highest: score, then mask quality."""
    return instance.score, instance.mask_quality or 0.0


def suppress_instances(
    instances: Sequence[Instance], scores: Sequence[float], *, iou_threshold: float
) -> NDArray[np.int64]:
    """Keep the best masks, and drop every one that overlaps a better kept one.

    Args:
        instances: Of one image.
        scores: One each; of equal ones the earlier is better.
        iou_threshold: What overlaps by more than this is dropped, in [0, 1].

    Returns:
        Indexes of the kept ones, the best first.
    """
    boxes = np.array([instance.box_xyxy for instance in instances], dtype=np.float64).reshape(-1, 4)
    areas = np.array([rle_area(instance.rle) for instance in instances], dtype=np.float64)
    kept: list[int] = []
    for index in np.argsort(-np.asarray(scores, np.float64), kind="stable").tolist():
        rivals = np.array(kept, dtype=np.int64)
        # An upper bound of the IoU, from boxes and areas alone, spares nearly every look at the pixels.
        corners = np.concatenate(
            [np.maximum(boxes[rivals, :2], boxes[index, :2]), np.minimum(boxes[rivals, 2:], boxes[index, 2:])], axis=1
        )
        most_shared = np.minimum(box_areas(corners), np.minimum(areas[rivals], areas[index]))
        possible = most_shared > iou_threshold * (areas[rivals] + areas[index] - most_shared)
        if not any(instance_iou(instances[index], instances[rival]) > iou_threshold for rival in rivals[possible]):
            kept.append(index)
    return np.array(kept, dtype=np.int64)


def place_mask(
    mask: NDArray[np.bool_],
    window: Window,
    size_hw: tuple[int, int],
    *,
    score: float,
    mask_quality: float | None = None,
) -> Instance | None:
    """Make an instance of a mask that was drawn in a window of an image; None where it is empty."""
    x0, y0, x1, y1 = tight_box(mask)
    if x1 == 0:
        return None
    left, top = window[:2]
    box_xyxy = (left + x0, top + y0, left + x1, top + y1)
    return Instance(box_xyxy, score, encode_rle(mask[y0:y1, x0:x1]), size_hw, mask_quality)
