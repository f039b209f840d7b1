"""What SAMs of tests share: an untrained network, and the encoding of an image that is its own canvas."""

import numpy as np
import torch
from numpy.typing import NDArray

from promptseg.ops.deferred import Deferred
from promptseg.runtime import Runtime
from promptseg.sam.base import Frame, SamEmbedding
from promptseg.sam.decoder import read_prompt_encoder
from promptseg.sam.mobile_sam import build_mobile_sam
from promptseg.sam.mobile_sam_network import MobileSamNetwork
from promptseg.sam.sam import Sam

TORCH = Runtime("torch")


def untrained_network(input_side: int) -> MobileSamNetwork:
    """MobileSAM's network with random weights, always the same."""
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        return MobileSamNetwork(input_side).eval().requires_grad_(False)


def untrained_mobile_sam(input_side: int, runtime: Runtime = TORCH) -> Sam:
    """MobileSAM with random weights, always the same."""
    network = untrained_network(input_side)
    prompt_encoder = read_prompt_encoder(network.decoder.prompt_encoder, input_side)
    return build_mobile_sam(Deferred.of(network), prompt_encoder, runtime=runtime, identity="untrained, seed 0")


def encode_as_it_is(image_rgb: NDArray[np.uint8]) -> SamEmbedding:
    """The pixels themselves as the only feature, float32 (1, 3, H, W), on a canvas of the image's own size."""
    height, width, _ = image_rgb.shape
    pixels = np.ascontiguousarray(image_rgb.transpose(2, 0, 1)[None], dtype=np.float32)
    return SamEmbedding((pixels,), Frame((height, width), (height, width), (1.0, 1.0)))
