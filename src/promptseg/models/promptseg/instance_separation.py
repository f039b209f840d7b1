"""Separate instances: segment detections one by one, or divide a connected region of their phrase's mask among them.

The divided mask itself does not change. A pixel of a region goes to the instance with the highest logit there. A part
that no instance covers becomes a separate instance if it is large enough; otherwise its pixels go to the instance with
the least negative logit.

Maps are logits of shape (h, w) over the image, above 0 inside.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from promptseg.detectors.box_selection import Boxes
from promptseg.models.promptseg.settings import SeparationSettings
from promptseg.ops.masks import iterate_components, label_components, mask_iou, tight_box
from promptseg.ops.resize import resize_map, sigmoid, threshold_map
from promptseg.results import MIN_INSTANCE_SHARE, Instance
from promptseg.sam.overlap import place_mask

Map = NDArray[np.float32]


def find_touching(coarse: Map, boxes: Boxes, settings: SeparationSettings) -> list[int]:
    """Choose the boxes that share a connected region of a mask with another box.

    Args:
        coarse: The mask.
        boxes: Boxes of instances of the mask's phrase, best first.
        settings: Conditions under which a box belongs to the mask.

    Returns:
        Indexes of the boxes, best first; empty if no instances touch.
    """
    labels, num_regions = label_components(coarse > 0)
    height, width = labels.shape
    regions: dict[int, list[int]] = {}
    for index, box_xyxy in enumerate(boxes.boxes_xyxy):
        left, top, right, bottom = (box_xyxy * (width, height, width, height)).round().astype(int).tolist()
        inside = labels[top : max(bottom, top + 1), left : max(right, left + 1)]
        areas = np.bincount(inside.ravel(), minlength=num_regions + 1)
        areas[0] = 0
        if areas.sum() >= settings.min_filled * max(inside.size, 1):
            regions.setdefault(int(areas.argmax()), []).append(index)
    return sorted(index for sharing in regions.values() if len(sharing) > 1 for index in sharing)


def segment_boxes(
    masks: Sequence[Map],
    scores: Sequence[float],
    qualities: Sequence[float],
    size_hw: tuple[int, int],
    settings: SeparationSettings,
) -> tuple[Instance, ...]:
    """Compute instances at image size; a pixel of several masks goes to the mask with the highest logit.

    Args:
        masks: Mask of each instance, best first.
        scores: Score of each detection.
        qualities: Predicted IoU of each mask.
        size_hw: Height and width of the image, pixels.
        settings: Maximum IoU of different instances.

    Returns:
        Instances that share no pixel, best score first, without duplicates of better ones and without empty ones.
    """
    highest = np.zeros(size_hw, dtype=np.float32)
    owner = np.full(size_hw, -1, dtype=np.int32)
    windows = {}
    for index in _drop_repeated([mask > 0 for mask in masks], settings.max_mask_iou):
        left, top, right, bottom = windows[index] = _window(masks[index] > 0, size_hw)
        logits = resize_map(masks[index], size_hw, window_xyxy=windows[index])
        window = (slice(top, bottom), slice(left, right))
        wins = logits > highest[window]
        highest[window][wins] = logits[wins]
        owner[window][wins] = index
    drawn = (
        place_mask(
            owner[top:bottom, left:right] == index,
            (left, top, right, bottom),
            size_hw,
            score=scores[index],
            mask_quality=qualities[index],
        )
        for index, (left, top, right, bottom) in windows.items()
    )
    instances = [instance for instance in drawn if instance is not None]
    return tuple(sorted(instances, key=lambda instance: -instance.score))


def separate_touching(
    mask_logits: Map,
    masks: Sequence[Map],
    size_hw: tuple[int, int],
    *,
    edge: float,
    presence: float,
    settings: SeparationSettings,
) -> tuple[Instance, ...]:
    """Divide a mask into instances.

    Args:
        mask_logits: The mask.
        masks: Separate mask of each instance, best first.
        size_hw: Height and width of the image, pixels.
        edge: Threshold of `mask_logits`, a logit.
        presence: Presence of the phrase.
        settings: Settings of the division.

    Returns:
        Instances, best score first, which cover the mask except for small regions; scores as in
        `QueryResult.instances`.
    """
    mask = threshold_map(mask_logits, size_hw, edge)
    kept = _drop_repeated([one > 0 for one in masks], settings.max_mask_iou)
    areas = [size_hw[0] * size_hw[1] * float((masks[index] > 0).mean()) for index in kept]
    instances = []
    for (rows, columns), region in iterate_components(mask, min_share=MIN_INSTANCE_SHARE):
        window = (columns.start, rows.start, columns.stop, rows.stop)
        maps = [resize_map(masks[index], size_hw, window_xyxy=window) for index in kept]
        own = [
            one
            for one, area in zip(maps, areas, strict=True)
            if ((one > 0) & region).sum() >= settings.min_within * area
        ]
        probability = sigmoid(resize_map(mask_logits, size_hw, window_xyxy=window))
        for piece in _divide(region, own, settings.min_rest_share):
            drawn = place_mask(piece, window, size_hw, score=float(probability[piece].mean()) * presence)
            assert drawn is not None  # a piece has pixels
            instances.append(drawn)
    return tuple(sorted(instances, key=lambda instance: -instance.score))


def _divide(region: NDArray[np.bool_], maps: Sequence[Map], min_rest_share: float) -> Iterator[NDArray[np.bool_]]:
    """Yield the pieces of a connected region, bool, shape (h, w); maps: of the instances in it, over its window."""
    if len(maps) < 2:
        yield region
        return
    stacked = np.stack(maps)
    owner = stacked.argmax(axis=0)
    covered = region & (stacked.max(axis=0) > 0)
    least = min_rest_share * covered.sum() / len(maps)
    labels, num_rests = label_components(region & ~covered)
    areas = np.bincount(labels.ravel(), minlength=num_rests + 1)
    for label in range(1, num_rests + 1):
        if areas[label] >= least:
            yield labels == label
    shared = region & ((labels == 0) | (areas < least)[labels])
    for index in range(len(maps)):
        piece = shared & (owner == index)
        if piece.any():
            yield piece


def _window(mask: NDArray[np.bool_], size_hw: tuple[int, int]) -> tuple[int, int, int, int]:
    """Find the window (x0, y0, x1, y1) of an image of size (H, W) that a mask on a coarser grid may cover."""
    (height, width), (steps_y, steps_x) = size_hw, (size_hw[0] / mask.shape[0], size_hw[1] / mask.shape[1])
    left, top, right, bottom = tight_box(mask)
    return (
        max(int((left - 1) * steps_x), 0),
        max(int((top - 1) * steps_y), 0),
        min(int(np.ceil((right + 1) * steps_x)), width),
        min(int(np.ceil((bottom + 1) * steps_y)), height),
    )


def _drop_repeated(masks: Sequence[NDArray[np.bool_]], max_iou: float) -> list[int]:
    kept: list[int] = []
    for index, mask in enumerate(masks):
        if mask.any() and all(mask_iou(mask, masks[other]) <= max_iou for other in kept):
            kept.append(index)
    return kept
