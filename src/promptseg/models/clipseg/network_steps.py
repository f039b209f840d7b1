"""Split the network into steps that PyTorch runs or OpenVINO compiles."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from promptseg.encoders.base import AttentionMask
from promptseg.models.clipseg.network import ClipSeg
from promptseg.models.clipseg.visual_prompt import TokenMask
from promptseg.runtime import Step

EXAMPLE_TEXTS = ("cat", "the second zebra from the left")


class _EncodeTokens(nn.Module):
    def __init__(self, network: ClipSeg) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        return self.network.encode_tokens(pixels)


class _EncodeTexts(nn.Module):
    def __init__(self, network: ClipSeg) -> None:
        super().__init__()
        self.text_tower = network.text_tower

    def forward(self, token_ids: Tensor, token_mask: Tensor) -> Tensor:
        embedding: Tensor = self.text_tower(token_ids, token_mask).embedding
        return embedding


class _DecodeLogits(nn.Module):
    def __init__(self, network: ClipSeg, grid_hw: tuple[int, int]) -> None:
        super().__init__()
        self.decoder = network.decoder
        self.grid_hw = grid_hw

    def forward(self, condition: Tensor, *states: Tensor) -> Tensor:
        logits: Tensor = self.decoder(states, condition, self.grid_hw)
        return logits


@torch.no_grad()
def build_step(name: str, network: ClipSeg) -> Step:
    """Build one of the steps "tokens", "texts" and "decode".

    Args:
        name: Name of the step.
        network: The network, in evaluation mode, on the CPU.
    """
    cells = network.side // network.image_tower.multiple
    pixels = torch.zeros(1, 3, network.side, network.side)
    state_names = tuple(f"tokens{index}" for index in range(len(network.image_tower.layers)))
    if name == "tokens":
        return Step(_EncodeTokens(network), {"pixels": pixels}, {}, state_names)
    if name == "texts":
        token_ids, token_mask = network.text_tower.tokenize(EXAMPLE_TEXTS)
        tokens = {"token_ids": token_ids, "token_mask": token_mask}
        return Step(_EncodeTexts(network), tokens, dict.fromkeys(tokens, (0, 1)), ("embedding",))
    condition = torch.zeros(len(EXAMPLE_TEXTS), network.text_tower.dim)
    states = dict(zip(state_names, network.encode_tokens(pixels), strict=True))
    return Step(
        _DecodeLogits(network, (cells, cells)), {"condition": condition, **states}, {"condition": (0,)}, ("logits",)
    )


@torch.inference_mode()
def embed_image(network: ClipSeg, pixels: NDArray[Any], token_mask: TokenMask | None) -> NDArray[np.float32]:
    """Embed the image of an exemplar.

    Args:
        network: The network.
        pixels: Normalized pixels, shape (1, 3, H, W).
        token_mask: Tokens of the exemplar, for masked attention, or None.

    Returns:
        Shape (E,).
    """
    moved = torch.from_numpy(pixels).to(network.device)
    if token_mask is None:
        return network.embed_images(moved)[0].cpu().numpy()
    side = network.side // network.image_tower.multiple
    tokens = torch.from_numpy(token_mask.tokens((side, side)))[None].to(network.device)
    attention_mask = AttentionMask(tokens, token_mask.layers, token_mask.queries)
    return network.embed_images(moved, attention_mask)[0].cpu().numpy()
