"""Resize maps, and convert logits to probabilities."""

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image

# Maximum pixels per strip: 16 MB of floats.
STRIP_PIXELS = 4_000_000


def resize_map(
    values: NDArray[np.float32],
    size_hw: tuple[int, int],
    *,
    covered_xyxy: tuple[float, float, float, float] | None = None,
    window_xyxy: tuple[int, int, int, int] | None = None,
) -> NDArray[np.float32]:
    """Resize a map bilinearly, pixel centers at index + 0.5.

    Enlarging equals torch's `interpolate(mode="bilinear", align_corners=False)`; shrinking averages what is merged.

    Args:
        values: Shape (h, w).
        size_hw: New height and width, pixels.
        covered_xyxy: Part of `values` that becomes the new map, in pixels of `values`; None: all.
        window_xyxy: Compute only this part of the new map; it must lie within `values`. None: all.

    Returns:
        Shape `size_hw`, or that of the window.
    """
    height, width = size_hw
    left, top, right, bottom = covered_xyxy or (0, 0, values.shape[1], values.shape[0])
    x0, y0, x1, y1 = window_xyxy or (0, 0, width, height)
    step_x, step_y = (right - left) / width, (bottom - top) / height
    # clipped, because rounding may exceed the values
    box = (
        max(left + x0 * step_x, 0.0),
        max(top + y0 * step_y, 0.0),
        min(left + x1 * step_x, values.shape[1]),
        min(top + y1 * step_y, values.shape[0]),
    )
    image = Image.fromarray(np.ascontiguousarray(values, dtype=np.float32))
    return np.asarray(image.resize((x1 - x0, y1 - y0), Image.Resampling.BILINEAR, box=box))


def threshold_map(
    values: NDArray[np.float32],
    size_hw: tuple[int, int],
    threshold: float,
    *,
    covered_xyxy: tuple[float, float, float, float] | None = None,
    window_xyxy: tuple[int, int, int, int] | None = None,
) -> NDArray[np.bool_]:
    """Compute where a resized map reaches a threshold, in strips, to limit the memory for large images.

    Args:
        values: Shape (h, w).
        size_hw: New height and width, pixels.
        threshold: Minimum of the resized values.
        covered_xyxy: As in `resize_map`.
        window_xyxy: As in `resize_map`.

    Returns:
        bool, shape `size_hw`, or that of the window.
    """
    x0, y0, x1, y1 = window_xyxy or (0, 0, size_hw[1], size_hw[0])
    reached = np.empty((y1 - y0, x1 - x0), dtype=np.bool_)
    step = max(1, STRIP_PIXELS // (x1 - x0))
    for top in range(y0, y1, step):
        strip = (x0, top, x1, min(top + step, y1))
        reached[top - y0 : strip[3] - y0] = (
            resize_map(values, size_hw, covered_xyxy=covered_xyxy, window_xyxy=strip) >= threshold
        )
    return reached


def area_shares(mask: NDArray[np.bool_], size_hw: tuple[int, int]) -> NDArray[np.float32]:
    """Compute the share of each cell that a mask covers, like torch's `interpolate(mode="area")`.

    Args:
        mask: bool, shape (H, W).
        size_hw: Rows and columns of cells. A cell averages all pixels that it touches.

    Returns:
        Shape `size_hw`, in [0, 1].
    """
    total = np.zeros((mask.shape[0] + 1, mask.shape[1] + 1), dtype=np.float64)
    total[1:, 1:] = mask.cumsum(axis=0, dtype=np.float64).cumsum(axis=1)
    (top, bottom), (left, right) = (
        _cell_bounds(length, cells) for length, cells in zip(mask.shape, size_hw, strict=True)
    )
    sums = total[bottom][:, right] - total[top][:, right] - total[bottom][:, left] + total[top][:, left]
    return (sums / ((bottom - top)[:, None] * (right - left)[None])).astype(np.float32)


def _cell_bounds(length: int, num_cells: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Compute the first pixel of each cell along one side, and the pixel after its last."""
    index = np.arange(num_cells)
    return index * length // num_cells, -((index + 1) * length // -num_cells)


def sigmoid(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Convert logits of any shape to probabilities in [0, 1], without overflow."""
    probability: NDArray[np.float32] = 0.5 * (1.0 + np.tanh(0.5 * logits))
    return probability


def logit(probability: float) -> float:
    """Convert a probability in [0, 1] to its logit; infinite for 0 and 1."""
    if probability in (0.0, 1.0):
        return math.copysign(math.inf, probability - 0.5)
    return math.log(probability / (1.0 - probability))


def clipped_logit(probability: float, *, least: float = 1e-4) -> float:
    """Convert a probability in [0, 1] to its logit, after it is clipped to the range from `least` to 1 minus it."""
    return logit(min(max(probability, least), 1.0 - least))
