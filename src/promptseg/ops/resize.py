"""Maps of numbers from one size to another, and from logits to probabilities."""

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image

# 16 MB of floats at a time.
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
        values: shape (h, w).
        size_hw: The new height and width, pixels.
        covered_xyxy: What of `values` becomes the new map, in their pixels; None: all.
        window_xyxy: Work out only this part of the new map; it must come from within `values`. None: all.

    Returns:
        Shape `size_hw`, or that of the window.
    """
    height, width = size_hw
    left, top, right, bottom = covered_xyxy or (0, 0, values.shape[1], values.shape[0])
    x0, y0, x1, y1 = window_xyxy or (0, 0, width, height)
    step_x, step_y = (right - left) / width, (bottom - top) / height
    # within the values, whatever the rounding
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
    """Say where `resize_map` would reach a threshold, without ever holding the resized map of a large image.

    Args:
        values: shape (h, w).
        size_hw: The new height and width, pixels.
        threshold: Compared with the resized values.
        covered_xyxy: As `resize_map`.
        window_xyxy: As `resize_map`.

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


def sigmoid(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Map logits to probabilities in [0, 1] without overflow."""
    probability: NDArray[np.float32] = 0.5 * (1.0 + np.tanh(0.5 * logits))
    return probability


def logit(probability: float) -> float:
    """Map a probability in [0, 1] to its logit; infinite at the ends."""
    if probability in (0.0, 1.0):
        return math.copysign(math.inf, probability - 0.5)
    return math.log(probability / (1.0 - probability))
