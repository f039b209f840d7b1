"""Things told apart: what was detected of a name is drawn, or divides a connected part of the name's mask.

A mask that is divided stays as it is. A pixel of the part belongs to the thing whose own mask is the surest there. What
none of them covers stays a thing of its own where it is large enough; else it goes to the one that denies it least.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from promptseg.detectors.box_selection import Boxes
from promptseg.ops.components import iterate_components, tight_box
from promptseg.ops.resize import resize_map, sigmoid, threshold_map
from promptseg.results import MIN_INSTANCE_SHARE, Instance
from promptseg.sam.overlap import place_mask

# A box is of the mask's things where the mask fills at least this share of it.
MIN_FILLED = 0.25
# Of a mask's things only the surest are masked.
MAX_THINGS = 24
# A thing's own mask must lie in the part of the mask that it is to be cut from, by this share,
MIN_WITHIN = 0.5
# and must not be another's: above this IoU the surer one stays.
MAX_MASK_IOU = 0.6
# What no thing covers is a thing of its own from this share of the mean thing beside it on.
MIN_REST_SHARE = 0.5

_EIGHT_NEIGHBORS = np.ones((3, 3), dtype=np.bool_)


def find_touching(coarse: Tensor, boxes: Boxes) -> list[int]:
    """Choose the boxes that share a connected part of a mask with another one, the surest first.

    Args:
        coarse: Logits of the mask over the image, shape (h, w), above 0 inside.
        boxes: Of things of the mask's name.

    Returns:
        Indexes of boxes; none where nothing touches.
    """
    labels, num_parts = ndimage.label(coarse.numpy() > 0, structure=_EIGHT_NEIGHBORS)
    height, width = labels.shape
    parts: dict[int, list[int]] = {}
    for index, box_xyxy in enumerate(boxes.boxes_xyxy):
        left, top, right, bottom = (box_xyxy * (width, height, width, height)).round().astype(int).tolist()
        seen = labels[top : max(bottom, top + 1), left : max(right, left + 1)]
        areas = np.bincount(seen.ravel(), minlength=num_parts + 1)
        areas[0] = 0
        if areas.sum() >= MIN_FILLED * max(seen.size, 1):
            parts.setdefault(int(areas.argmax()), []).append(index)
    return sorted(index for sharing in parts.values() if len(sharing) > 1 for index in sharing)[:MAX_THINGS]


def share_out(things: Sequence[Tensor], scores: Sequence[float], size_hw: tuple[int, int]) -> tuple[Instance, ...]:
    """Draw things at the image's size; what several of them claim goes to the one that claims it most.

    Args:
        things: Logits of each thing's mask over the image, shape (h, w), above 0 inside, the surest thing first.
        scores: Of each.
        size_hw: Of the image, pixels.

    Returns:
        Instances that share no pixel, best score first. One that is the same as a surer one, or has nothing left, is
        left out.
    """
    claims = np.zeros(size_hw, dtype=np.float32)
    owner = np.full(size_hw, -1, dtype=np.int32)
    windows = {}
    for index in _drop_repeated([(thing > 0).numpy() for thing in things]):
        left, top, right, bottom = windows[index] = _window(things[index].numpy() > 0, size_hw)
        logits = resize_map(things[index].numpy(), size_hw, window_xyxy=windows[index])
        window = (slice(top, bottom), slice(left, right))
        wins = logits > claims[window]
        claims[window][wins] = logits[wins]
        owner[window][wins] = index
    drawn = (
        place_mask(owner[top:bottom, left:right] == index, (left, top, right, bottom), size_hw, score=scores[index])
        for index, (left, top, right, bottom) in windows.items()
    )
    instances = [instance for instance in drawn if instance is not None]
    return tuple(sorted(instances, key=lambda instance: -instance.score))


def split_mask(
    mask_logits: Tensor, things: Sequence[Tensor], size_hw: tuple[int, int], *, edge: float, presence: float
) -> tuple[Instance, ...]:
    """Divide a mask into instances.

    Args:
        mask_logits: Over the image, shape (h, w).
        things: Logits of each thing's own mask, likewise, above 0 inside, the surest thing first.
        size_hw: Of the image, pixels.
        edge: The mask begins at this logit.
        presence: Probability that what the mask means is there.

    Returns:
        Instances that cover the mask, but for crumbs, best score first; scores are as in `QueryResult.instances`.
    """
    mask = threshold_map(mask_logits.numpy(), size_hw, edge)
    apart = _drop_repeated([(thing > 0).numpy() for thing in things])
    instances = []
    for (rows, columns), part in iterate_components(mask, min_share=MIN_INSTANCE_SHARE):
        window = (columns.start, rows.start, columns.stop, rows.stop)
        maps = [resize_map(things[index].numpy(), size_hw, window_xyxy=window) for index in apart]
        areas = [size_hw[0] * size_hw[1] * float((things[index] > 0).float().mean()) for index in apart]
        own = [one for one, area in zip(maps, areas, strict=True) if ((one > 0) & part).sum() >= MIN_WITHIN * area]
        probability = sigmoid(resize_map(mask_logits.numpy(), size_hw, window_xyxy=window))
        for piece in _divide(part, own):
            drawn = place_mask(piece, window, size_hw, score=float(probability[piece].mean()) * presence)
            assert drawn is not None  # a piece has pixels
            instances.append(drawn)
    return tuple(sorted(instances, key=lambda instance: -instance.score))


def _divide(part: NDArray[np.bool_], maps: Sequence[NDArray[np.float32]]) -> Iterator[NDArray[np.bool_]]:
    """Yield the pieces of a connected part; maps: of the things in it, over its window."""
    if len(maps) < 2:
        yield part
        return
    stacked = np.stack(maps)
    owner = stacked.argmax(axis=0)
    covered = part & (stacked.max(axis=0) > 0)
    least = MIN_REST_SHARE * covered.sum() / len(maps)
    labels, num_rests = ndimage.label(part & ~covered, structure=_EIGHT_NEIGHBORS)
    areas = np.bincount(labels.ravel(), minlength=num_rests + 1)
    for label in range(1, num_rests + 1):
        if areas[label] >= least:
            yield labels == label
    taken = part & ((labels == 0) | (areas < least)[labels])
    for index in range(len(maps)):
        piece = taken & (owner == index)
        if piece.any():
            yield piece


def _window(mask: NDArray[np.bool_], size_hw: tuple[int, int]) -> tuple[int, int, int, int]:
    """Find the pixels of an image of size (H, W) that a mask on a coarser grid may reach, as x0, y0, x1, y1."""
    (height, width), (steps_y, steps_x) = size_hw, (size_hw[0] / mask.shape[0], size_hw[1] / mask.shape[1])
    left, top, right, bottom = tight_box(mask)
    return (
        max(int((left - 1) * steps_x), 0),
        max(int((top - 1) * steps_y), 0),
        min(int(np.ceil((right + 1) * steps_x)), width),
        min(int(np.ceil((bottom + 1) * steps_y)), height),
    )


def _drop_repeated(masks: Sequence[NDArray[np.bool_]]) -> list[int]:
    kept: list[int] = []
    for index, mask in enumerate(masks):
        overlaps = ((mask & masks[other]).sum() / max((mask | masks[other]).sum(), 1) for other in kept)
        if mask.any() and all(overlap <= MAX_MASK_IOU for overlap in overlaps):
            kept.append(index)
    return kept
