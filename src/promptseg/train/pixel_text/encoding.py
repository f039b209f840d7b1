"""Single images through a network that is being trained."""

import numpy as np
import torch
from numpy.typing import NDArray

from promptseg.encoders.pixels import input_size, to_pixels
from promptseg.models.promptseg.network import PixelTextImages, PromptSegNetwork


@torch.no_grad()
def encode_image(network: PromptSegNetwork, image_rgb: NDArray[np.uint8]) -> PixelTextImages:
    """Encode one image, uint8, shape (H, W, 3), as the segmenter does, on the network's device."""
    input_hw = input_size(network.config, (image_rgb.shape[0], image_rgb.shape[1]))
    pixels = to_pixels(image_rgb, input_hw, network.image_tower)
    return network.encode_images(torch.from_numpy(pixels).to(network.device))
