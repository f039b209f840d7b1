"""What maskers of tests share: an untrained network, and the encoding of an image that is its own canvas."""

import numpy as np
import torch
from numpy.typing import NDArray

from promptseg.sam.base import Frame, MaskerEmbedding
from promptseg.sam.decoder import SamDecoder
from promptseg.sam.mobile_sam import MobileSam
from promptseg.sam.tiny_vit import TinyViT


def untrained_mobile_sam(input_side: int) -> MobileSam:
    """MobileSAM with random weights, always the same."""
    torch.manual_seed(0)
    return MobileSam(TinyViT(), SamDecoder(input_side))


def encode_as_it_is(image_rgb: NDArray[np.uint8]) -> MaskerEmbedding:
    """The pixels themselves as the only feature, float (1, 3, H, W), on a canvas of the image's own size."""
    height, width, _ = image_rgb.shape
    pixels = torch.from_numpy(image_rgb.copy()).permute(2, 0, 1)[None].float()
    return MaskerEmbedding((pixels,), Frame((height, width), (height, width), (1.0, 1.0)))
