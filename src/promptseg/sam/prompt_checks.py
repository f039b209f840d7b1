"""Prompts that mean nothing are refused before anything is computed; the message names the first bad one."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from promptseg.errors import OutsideImageError, PromptError
from promptseg.sam.base import Frame


def check_prompts(
    original_hw: tuple[int, int],
    points_xy: NDArray[np.floating] | None,
    point_labels: NDArray[Any] | None,
    boxes_xyxy: NDArray[np.floating] | None,
) -> int:
    """Count the prompts, and refuse those that mean nothing.

    Args:
        original_hw: Size of the image, pixels.
        points_xy: As `sam.base.PromptableSegmenter.segment`.
        point_labels: Likewise.
        boxes_xyxy: Likewise.

    Returns:
        N, the number of prompts.

    Raises:
        PromptError: As `sam.base.PromptableSegmenter.segment` says.
    """
    if (points_xy is None) != (point_labels is None):
        raise PromptError("points_xy and point_labels come together")
    if points_xy is None and boxes_xyxy is None:
        raise PromptError("SAM needs points or a box")
    if points_xy is not None and point_labels is not None:
        _check_points(original_hw, points_xy, point_labels)
        if boxes_xyxy is None and not (point_labels >= 0).any(axis=1).all():
            raise PromptError("SAM needs points or a box: all points of a prompt have the label -1")
    if boxes_xyxy is not None:
        _check_boxes(original_hw, boxes_xyxy)
    if points_xy is not None and boxes_xyxy is not None and len(points_xy) != len(boxes_xyxy):
        raise PromptError(f"{len(points_xy)} sets of points but {len(boxes_xyxy)} boxes")
    given = boxes_xyxy if points_xy is None else points_xy
    assert given is not None
    return len(given)


def check_coarse(mask_logits: NDArray[np.floating], frame: Frame, num_prompts: int) -> None:
    """Refuse coarse masks that mean nothing.

    Raises:
        PromptError: They are not N maps over the canvas, or a logit is not finite.
    """
    expected = (num_prompts, *(side // 4 for side in frame.canvas_hw))
    if mask_logits.shape != expected:
        raise PromptError(f"mask_logits must be {expected}, got {mask_logits.shape}")
    if not np.isfinite(mask_logits).all():
        raise PromptError("mask_logits are not finite")


def _check_points(original_hw: tuple[int, int], points_xy: NDArray[np.floating], point_labels: NDArray[Any]) -> None:
    if points_xy.ndim != 3 or points_xy.shape[2] != 2 or point_labels.shape != points_xy.shape[:2]:
        raise PromptError(
            f"points_xy must be (N, P, 2) with point_labels (N, P), got {points_xy.shape}, {point_labels.shape}"
        )
    if not np.isin(point_labels, (-1, 0, 1)).all():
        raise PromptError("a point label is 1 (on the object), 0 (beside it) or -1 (no point)")
    height, width = original_hw
    # Written so that NaN counts as outside.
    inside = (points_xy >= 0).all(axis=2) & (points_xy[..., 0] <= width) & (points_xy[..., 1] <= height)
    outside = ~inside & (point_labels >= 0)
    if outside.any():
        prompt, point = np.argwhere(outside)[0].tolist()
        x, y = points_xy[prompt, point].tolist()
        raise OutsideImageError(
            f"point ({x:g}, {y:g}) of prompt {prompt} is outside the image, {width}x{height} pixels"
        )


def _check_boxes(original_hw: tuple[int, int], boxes_xyxy: NDArray[np.floating]) -> None:
    if boxes_xyxy.ndim != 2 or boxes_xyxy.shape[1] != 4:
        raise PromptError(f"boxes_xyxy must be (N, 4), got {boxes_xyxy.shape}")
    height, width = original_hw
    for index, (x0, y0, x1, y1) in enumerate(boxes_xyxy.tolist()):
        named = f"box ({x0:g}, {y0:g}, {x1:g}, {y1:g}) of prompt {index}"
        if not np.isfinite([x0, y0, x1, y1]).all():
            raise PromptError(f"{named} is not finite")
        if x1 <= x0 or y1 <= y0:
            raise PromptError(f"{named} has no area")
        if x0 >= width or y0 >= height or x1 <= 0 or y1 <= 0:
            raise OutsideImageError(f"{named} is outside the image, {width}x{height} pixels")
