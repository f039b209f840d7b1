"""MobileSAM's network in PyTorch: what its graphs are exported from."""

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from promptseg.errors import CheckpointError
from promptseg.runtime import Step
from promptseg.sam.decoder import SamDecoder, encode_step, prompt_step
from promptseg.sam.graphs import SamPart
from promptseg.sam.mask_decode import MaskDecode
from promptseg.sam.prompt_encoder import STRIDE
from promptseg.sam.tiny_vit import OUTPUT_CHANNELS, TinyViT

_ENCODER = "image_encoder."
# TinyViT's ImageNet head is in the published file, but nothing here uses it.
_UNUSED = ("image_encoder.head.", "image_encoder.norm_head.")


class MobileSamNetwork(nn.Module):
    """Image encoder, prompt encoder and mask decoder.

    Args:
        input_side: Longer side of what is encoded, pixels.
    """

    def __init__(self, input_side: int = 1024) -> None:
        super().__init__()
        self.encoder = TinyViT()
        self.decoder = SamDecoder(input_side)


def load_network(path: Path, input_side: int) -> MobileSamNetwork:
    """Load a safetensors file with the published names.

    Raises:
        CheckpointError: The file is not MobileSAM's.
    """
    network = MobileSamNetwork(input_side)
    try:
        state = {key: tensor for key, tensor in load_file(path).items() if not key.startswith(_UNUSED)}
        encoder = {k.removeprefix(_ENCODER): v for k, v in state.items() if k.startswith(_ENCODER)}
        network.encoder.load_state_dict(encoder)
        network.decoder.load_published({k: v for k, v in state.items() if not k.startswith(_ENCODER)})
    except (OSError, RuntimeError, SafetensorError) as error:
        raise CheckpointError(f"{path}: not the weights of MobileSAM: {error}") from error
    return network.eval().requires_grad_(False)


def build_step(network: MobileSamNetwork, part: SamPart, canvas_hw: tuple[int, int]) -> Step:
    """Take a part out of the network, for a canvas of some height and width."""
    if part == "encode":
        return encode_step(network.encoder, canvas_hw)
    if part == "coarse":
        module: nn.Module = network.decoder.prompt_encoder.mask_embed
    else:
        module = MaskDecode(network.decoder.mask_decoder, levels=part == "levels").eval()
    return prompt_step(part, module, canvas_hw, [(OUTPUT_CHANNELS, STRIDE)])
