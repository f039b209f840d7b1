"""The masks that SAM gives for the points of one view: which of them are good, and drawing those."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from promptseg.ops.masks import tight_box
from promptseg.ops.resize import resize_map, threshold_map
from promptseg.ops.windows import Window
from promptseg.results import Instance
from promptseg.sam.base import Frame, SamOutput
from promptseg.sam.overlap import place_mask


@dataclass(frozen=True, eq=False)
class Candidate:
    """A mask as SAM gave it, judged but not yet drawn at the size of the image.

    Attributes:
        logits: The part of its map where something is, float32, shape (h, w).
        covered_xyxy: Where its view lies, in cells of that part; most of it outside.
        judged_hw: Size of the view at which it was judged: its own, or that in SAM's canvas where it is less.
        box_xyxy: Of the mask, in pixels of that size, right and bottom exclusive.
        mask_quality: SAM's estimate of the mask's IoU.
        stability_score: IoU of the mask cut a little higher and a little lower, in [0, 1].
        point_xy: The point that it was drawn for, pixels of the view.
    """

    logits: NDArray[np.float32]
    covered_xyxy: tuple[float, float, float, float]
    judged_hw: tuple[int, int]
    box_xyxy: Window
    mask_quality: float
    stability_score: float
    point_xy: tuple[float, float]

    def box_in_view(self, view_hw: tuple[int, int]) -> tuple[float, float, float, float]:
        """Give the box in pixels of the view."""
        scale_y, scale_x = (view / judged for view, judged in zip(view_hw, self.judged_hw, strict=True))
        x0, y0, x1, y1 = self.box_xyxy
        return x0 * scale_x, y0 * scale_y, x1 * scale_x, y1 * scale_y


def judge(
    output: SamOutput, points_xy: NDArray[np.float64], *, min_quality: float, min_stability: float, offset: float
) -> Iterator[Candidate]:
    """Give the good ones of the masks of some points.

    Args:
        output: For N points, K masks each.
        points_xy: The points, pixels of the view, shape (N, 2).
        min_quality: SAM's estimate of the mask's IoU must be above this.
        min_stability: The stability must reach this.
        offset: How much higher and lower a mask is cut for the stability, in logits.
    """
    frame = output.frame
    judged_hw = _judged_size(frame)
    height, width = (int(side) for side in output.mask_logits.shape[-2:])
    covered_xyxy = _covered(frame, (height, width))
    for index, level in np.argwhere(output.scores > min_quality).tolist():
        logits = output.mask_logits[index, level]
        part = _part_above(logits, -offset, covered_xyxy, judged_hw)
        if part is None:
            continue
        cropped, covered, window = part
        drawn = resize_map(cropped, judged_hw, covered_xyxy=covered, window_xyxy=window)
        stability = float(stability_scores(drawn[None], offset=offset)[0])
        x0, y0, x1, y1 = tight_box(drawn >= 0)
        if stability >= min_stability and x1 > 0:
            box_xyxy = (window[0] + x0, window[1] + y0, window[0] + x1, window[1] + y1)
            point_xy = (float(points_xy[index, 0]), float(points_xy[index, 1]))
            quality = float(output.scores[index, level])
            yield Candidate(cropped, covered, judged_hw, box_xyxy, quality, stability, point_xy)


def stability_scores(logits: NDArray[np.float32], *, offset: float) -> NDArray[np.float64]:
    """Compare masks cut a little above 0 with the same masks cut a little below: their IoU.

    Args:
        logits: Shape (N, H, W).
        offset: How much above and below.

    Returns:
        Shape (N,), in [0, 1]; 0 where even the lower cut is empty.
    """
    higher, lower = ((logits > cut).sum(axis=(1, 2)) for cut in (offset, -offset))
    return np.divide(higher, lower, out=np.zeros(len(logits)), where=lower > 0)


def draw(candidate: Candidate, view_xyxy: Window, size_hw: tuple[int, int]) -> Instance | None:
    """Draw a candidate at the size of the image.

    Args:
        candidate: Of a view.
        view_xyxy: The view, pixels of the image.
        size_hw: Height and width of the image.

    Returns:
        Its score is 1, for its mask shows something; None where so fine a drawing has no pixel.
    """
    left, top, right, bottom = view_xyxy
    view_hw = (bottom - top, right - left)
    window = candidate.box_xyxy
    if candidate.judged_hw != view_hw:
        # Drawn finer, the edge may lie a little further out than it was judged.
        step = max(view / judged for view, judged in zip(view_hw, candidate.judged_hw, strict=True))
        x0, y0, x1, y1 = candidate.box_in_view(view_hw)
        window = (
            max(math.floor(x0 - step), 0),
            max(math.floor(y0 - step), 0),
            min(math.ceil(x1 + step), view_hw[1]),
            min(math.ceil(y1 + step), view_hw[0]),
        )
    mask = threshold_map(candidate.logits, view_hw, 0.0, covered_xyxy=candidate.covered_xyxy, window_xyxy=window)
    in_image = (left + window[0], top + window[1], left + window[2], top + window[3])
    quality = min(max(candidate.mask_quality, 0.0), 1.0)
    return place_mask(mask, in_image, size_hw, score=1.0, mask_quality=quality)


def _judged_size(frame: Frame) -> tuple[int, int]:
    height, width = frame.original_hw
    scale_x, scale_y = frame.scale_xy
    return max(1, min(height, round(height * scale_y))), max(1, min(width, round(width * scale_x)))


def _covered(frame: Frame, map_hw: tuple[int, int]) -> tuple[float, float, float, float]:
    """Give the part of a map over the canvas that the view covers, in cells."""
    height, width = frame.original_hw
    scale_x, scale_y = frame.scale_xy
    return 0.0, 0.0, width * scale_x * map_hw[1] / frame.canvas_hw[1], height * scale_y * map_hw[0] / frame.canvas_hw[0]


def _part_above(
    logits: NDArray[np.float32],
    floor: float,
    covered_xyxy: tuple[float, float, float, float],
    judged_hw: tuple[int, int],
) -> tuple[NDArray[np.float32], tuple[float, float, float, float], Window] | None:
    """Cut out the cells from which values above `floor` can come, with room for the interpolation around them.

    Returns:
        A copy of the cells, what the view covers in them, and which pixels of the view they can bring above the floor.
    """
    low, high, first, last = [], [], [], []
    x0, y0, x1, y1 = tight_box(logits[: math.ceil(covered_xyxy[3]) + 1, : math.ceil(covered_xyxy[2]) + 1] > floor)
    if x1 == 0:
        return None
    for axis, (start, stop) in enumerate(((x0, x1), (y0, y1))):
        num_cells, num_pixels = logits.shape[1 - axis], judged_hw[1 - axis]
        step = covered_xyxy[axis + 2] / num_pixels
        reach = max(step, 1.0)
        low.append(max(math.floor(start - 2 * reach) - 1, 0))
        high.append(min(math.ceil(stop + 2 * reach) + 1, num_cells))
        first.append(max(math.floor((start - reach) / step), 0))
        last.append(min(math.ceil((stop + reach) / step), num_pixels))
    left, top, right, bottom = covered_xyxy
    covered = (left - low[0], top - low[1], right - low[0], bottom - low[1])
    return logits[low[1] : high[1], low[0] : high[0]].copy(), covered, (first[0], first[1], last[0], last[1])
