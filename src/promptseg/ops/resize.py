"""Maps of numbers from one size to another, and from logits to probabilities."""

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def resize_map(values: NDArray[np.float32], size_hw: tuple[int, int]) -> NDArray[np.float32]:
    """Resize a map bilinearly, pixel centres at index + 0.5.

    Enlarging equals torch's `interpolate(mode="bilinear", align_corners=False)`; shrinking averages what is merged.

    Args:
        values: shape (h, w).
        size_hw: The new height and width, pixels.

    Returns:
        Shape `size_hw`.
    """
    height, width = size_hw
    image = Image.fromarray(np.ascontiguousarray(values, dtype=np.float32))
    return np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))


def sigmoid(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Map logits to probabilities in [0, 1] without overflow."""
    probability: NDArray[np.float32] = 0.5 * (1.0 + np.tanh(0.5 * logits))
    return probability


def logit(probability: float) -> float:
    """Map a probability in [0, 1] to its logit; infinite at the ends."""
    if probability in (0.0, 1.0):
        return math.copysign(math.inf, probability - 0.5)
    return math.log(probability / (1.0 - probability))
