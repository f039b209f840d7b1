"""Images at the size and in the numbers that a detector was trained with."""

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor


def resize_rgb(image_rgb: NDArray[np.uint8], size_hw: tuple[int, int]) -> NDArray[np.uint8]:
    """Resize an image, uint8 (H, W, 3), bilinearly; shrinking averages what is merged."""
    height, width = size_hw
    return np.asarray(Image.fromarray(image_rgb).resize((width, height), Image.Resampling.BILINEAR))


def normalize(
    image_rgb: NDArray[np.uint8], mean: tuple[float, float, float], std: tuple[float, float, float]
) -> Tensor:
    """Bring an image, uint8 (H, W, 3), to (1, 3, H, W) with each channel's mean and deviation taken out."""
    unit = image_rgb.astype(np.float32) / 255
    centerd = (unit - np.array(mean, dtype=np.float32)) / np.array(std, dtype=np.float32)
    return torch.from_numpy(centerd).permute(2, 0, 1)[None].contiguous()
