"""Single images through a network that is being trained."""

import numpy as np
import torch
from numpy.typing import NDArray

from promptseg.encoders.pixels import fit_size, to_pixels
from promptseg.models.promptseg.network import PixelTextImages, PromptSegNetwork


@torch.no_grad()
def encode_image(network: PromptSegNetwork, image_rgb: NDArray[np.uint8]) -> PixelTextImages:
    """Encode one image, uint8, shape (H, W, 3), as the segmenter does, on the network's device."""
    config, tower = network.config, network.image_tower
    size_hw = fit_size(
        (image_rgb.shape[0], image_rgb.shape[1]),
        image_size=config.image_size,
        multiple=tower.multiple,
        resize=config.resize,
    )
    return network.encode_images(torch.from_numpy(to_pixels(image_rgb, size_hw, tower)).to(network.device))
