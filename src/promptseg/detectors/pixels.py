"""Images at the size and in the numbers that a detector was trained with."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def resize_rgb(image_rgb: NDArray[np.uint8], size_hw: tuple[int, int]) -> NDArray[np.uint8]:
    """Resize an image, uint8 (H, W, 3), bilinearly; shrinking averages what is merged."""
    height, width = size_hw
    return np.asarray(Image.fromarray(image_rgb).resize((width, height), Image.Resampling.BILINEAR))


def normalize_unit(
    image_rgb: NDArray[np.uint8], mean: tuple[float, float, float], std: tuple[float, float, float]
) -> NDArray[np.float32]:
    """Bring an image, uint8 (H, W, 3), to (1, 3, H, W): in [0, 1], less the mean, divided by the standard deviation."""
    unit = image_rgb.astype(np.float32) / 255
    centered = (unit - np.array(mean, dtype=np.float32)) / np.array(std, dtype=np.float32)
    return np.ascontiguousarray(centered.transpose(2, 0, 1)[None])
