"""CLIPSeg by OpenVINO on a CPU: images, texts and the decoder are compiled, examples are embedded by PyTorch."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from promptseg.encoders.base import AttentionMask
from promptseg.models.clipseg.network import ClipSeg
from promptseg.models.clipseg.segmenter import ConceptSegmenter
from promptseg.runtime.network_graphs import compile_steps
from promptseg.runtime.openvino import Precision, Runner, cpu_options
from promptseg.runtime.steps import EXAMPLE_TEXTS, Step


class OpenVinoClipSeg(ConceptSegmenter):
    """Segment one image at a time by a CLIPSeg that OpenVINO has compiled. Threads may share it.

    Args:
        network: What to compile, in evaluation mode, on the CPU; it still embeds examples itself.
        precision: "f32", or "bf16": rounded to eight bits wherever OpenVINO finds that it pays on this CPU.

    Raises:
        EngineError: The compiled graphs can't be kept in the cache.
    """

    def __init__(self, network: ClipSeg, *, precision: Precision = "f32") -> None:
        self.config = network.config
        self.image_tower = network.image_tower
        self._network = network
        compiled = compile_steps(network, lambda: build_clipseg_steps(network), cpu_options(precision))
        self._tokens, self._texts, self._decode = (Runner(compiled[name]) for name in ("tokens", "texts", "decode"))

    @property
    def device(self) -> torch.device:
        return torch.device("cpu")

    def encode_tokens(self, pixels: Tensor) -> tuple[Tensor, ...]:
        states = self._tokens(pixels=pixels)
        return tuple(states[f"tokens{index}"] for index in range(len(states)))

    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        token_ids, token_mask = self._network.text_tower.tokenize(texts)
        return self._texts(token_ids=token_ids, token_mask=token_mask)["embedding"]

    def embed_images(self, pixels: Tensor, attention_mask: AttentionMask | None = None) -> Tensor:
        return self._network.embed_images(pixels, attention_mask)

    def decode(self, states: Sequence[Tensor], condition: Tensor, grid_hw: tuple[int, int]) -> Tensor:
        """Give the decoder's logits; `grid_hw` is the one that was compiled, of the config's image size."""
        named = {f"tokens{index}": state for index, state in enumerate(states)}
        return self._decode(condition=condition, **named)["logits"]


class _Tokens(nn.Module):
    def __init__(self, network: ClipSeg) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        return self.network.encode_tokens(pixels)


class _Texts(nn.Module):
    def __init__(self, network: ClipSeg) -> None:
        super().__init__()
        self.text_tower = network.text_tower

    def forward(self, token_ids: Tensor, token_mask: Tensor) -> Tensor:
        embedding: Tensor = self.text_tower(token_ids, token_mask).embedding
        return embedding


class _Decode(nn.Module):
    def __init__(self, network: ClipSeg, grid_hw: tuple[int, int]) -> None:
        super().__init__()
        self.decoder = network.decoder
        self.grid_hw = grid_hw

    def forward(self, condition: Tensor, *states: Tensor) -> Tensor:
        logits: Tensor = self.decoder(states, condition, self.grid_hw)
        return logits


def build_clipseg_steps(network: ClipSeg) -> dict[str, Step]:
    """Take a network apart; it must be in evaluation mode, on the CPU."""
    side, cells = network.side, network.side // network.image_tower.multiple
    pixels = torch.zeros(1, 3, side, side)
    token_ids, token_mask = network.text_tower.tokenize(EXAMPLE_TEXTS)
    tokens = {"token_ids": token_ids, "token_mask": token_mask}
    states = {f"tokens{index}": state for index, state in enumerate(network.encode_tokens(pixels))}
    asked = {"condition": network.embed_texts(EXAMPLE_TEXTS), **states}
    free = {name: (0,) if name == "condition" else () for name in asked}
    return {
        "tokens": Step(_Tokens(network), {"pixels": pixels}, {"pixels": ()}, tuple(states)),
        "texts": Step(_Texts(network), tokens, dict.fromkeys(tokens, (0, 1)), ("embedding",)),
        "decode": Step(_Decode(network, (cells, cells)), asked, free, ("logits",)),
    }
