"""Towers for tests: they need no weights and run in milliseconds."""

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from promptseg.encoders.base import ImageTower, TextFeatures, TextTower, check_pixels
from promptseg.encoders.tokenizers import BytesTokenizer
from promptseg.encoders.tower_facts import TEXT_TOWER_FACTS, Layer
from promptseg.errors import WeightsError

NUM_CHARACTERS = 257  # the bytes of UTF-8, and padding


class TinyConv(ImageTower):
    """Five strided convolutions, strides 2 to 32.

    Args:
        layers: Strides out of 2, 4, 8, 16, 32, ascending.

    Raises:
        ValueError: A layer is unknown, or the layers are out of order.
    """

    multiple = 32

    def __init__(self, layers: Sequence[Layer] = (4, 8, 16, 32)) -> None:
        super().__init__()
        strides = (2, 4, 8, 16, 32)
        if not layers or [x for x in strides if x in layers] != list(layers):
            raise ValueError(f"layers must be out of {strides}, ascending, got {tuple(layers)}")
        self.strides = tuple(x for x in strides if x in layers)
        self.channels = tuple(8 * (strides.index(stride) + 1) for stride in self.strides)
        self.convs = nn.ModuleList(nn.Conv2d(8 * i if i else 3, 8 * (i + 1), 3, 2, 1) for i in range(5))

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        check_pixels(pixels, self.multiple)
        maps = []
        x = pixels
        for i, conv in enumerate(self.convs):
            x = F.relu(conv(x))
            if 2 ** (i + 1) in self.strides:
                maps.append(x)
        return tuple(maps)

    def load_weights(self, *paths: Path) -> None:
        raise WeightsError("the tiny test tower has no pretrained weights")

    def lora_targets(self, layers: Sequence[int]) -> list[str]:
        return [f"convs.{i}" for i in layers]


class TinyText(TextTower):
    """Text tower with a random vector for each byte of a text and for each position."""

    dim = 24
    token_dim = 24
    max_tokens = TEXT_TOWER_FACTS["bytes-test"].max_tokens

    def __init__(self) -> None:
        super().__init__(BytesTokenizer(self.max_tokens))
        self.characters = nn.Embedding(NUM_CHARACTERS, self.dim)
        self.positions = nn.Embedding(self.max_tokens, self.dim)
        self.mix = nn.Linear(self.dim, self.dim)

    def forward(self, token_ids: Tensor, token_mask: Tensor) -> TextFeatures:
        positions = self.positions.weight[: token_ids.shape[1]]
        tokens = torch.tanh(self.mix(self.characters(token_ids) + positions))
        weights = token_mask.unsqueeze(-1).to(tokens.dtype)
        mean = (tokens * weights).sum(dim=1) / weights.sum(dim=1)
        return TextFeatures(pooled=F.normalize(mean, dim=-1), embedding=mean, tokens=tokens, token_mask=token_mask)

    def load_weights(self, *paths: Path) -> None:
        raise WeightsError("the tiny test tower has no pretrained weights")

    def lora_targets(self, layers: Sequence[int]) -> list[str]:
        return ["mix" for _ in layers]
