"""Normalize the pixels of an image for a network.

It uses numpy, which works in the caller's thread. PyTorch's worker threads keep spinning for some milliseconds after
use, and slow down the compiled graph that runs next.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

# ImageNet's statistics in RGB from 0 to 255, which every SAM was trained with.
IMAGENET_MEAN_255, IMAGENET_STD_255 = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)


def normalize_pixels(
    image_rgb: NDArray[np.uint8],
    mean: Sequence[float],
    std: Sequence[float],
    *,
    canvas_hw: tuple[int, int] | None = None,
) -> NDArray[np.float32]:
    """Subtract the mean, divide by the standard deviation, and put the channels first.

    Args:
        image_rgb: uint8, shape (H, W, 3).
        mean: Mean of each channel, in RGB from 0 to 255.
        std: Standard deviation of each channel, in RGB from 0 to 255.
        canvas_hw: Height and width after padding with zeros at the right and the bottom; None: no padding.

    Returns:
        Shape (1, 3, *canvas_hw), float32.
    """
    height, width, _ = image_rgb.shape
    canvas = np.zeros((1, 3, *(canvas_hw or (height, width))), dtype=np.float32)
    for channel, (center, spread) in enumerate(zip(mean, std, strict=True)):
        plane = canvas[0, channel, :height, :width]
        np.subtract(image_rgb[..., channel], np.float32(center), out=plane)
        plane /= np.float32(spread)
    return canvas
