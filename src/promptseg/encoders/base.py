"""What a model may ask of a tower, whatever is inside it.

Shapes: B images, N texts, T tokens, C channels, H W pixels, h w features.
"""

import logging
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

logger = logging.getLogger(__name__)

Layer = int | str
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class TextFeatures:
    """What a text tower says about N texts.

    Attributes:
        pooled: One vector a text, shape (N, C), L2-normalized.
        embedding: The same before its length became 1, shape (N, C).
        tokens: Token states, shape (N, T, C).
        token_mask: True where a token is real and not padding, shape (N, T), bool.
    """

    pooled: Tensor
    embedding: Tensor
    tokens: Tensor
    token_mask: Tensor


class ImageTower(nn.Module, ABC):
    """An image encoder that yields one map for each of its chosen layers.

    Attributes:
        channels: Channels of each map.
        strides: Input pixels for each cell of a map, never decreasing.
        multiple: Height and width of the input must be multiples of this.
        mean: Per channel, taken from RGB in [0, 1].
        std: Per channel, divided by afterwards.
        detected_names: What it detects on the way, V names; empty: nothing.
    """

    channels: tuple[int, ...]
    strides: tuple[int, ...]
    multiple: int
    detected_names: tuple[str, ...] = ()
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD

    @abstractmethod
    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """Encode normalized pixels, shape (B, 3, H, W), to maps of shape (B, C_i, h_i, w_i)."""

    def detect(self, pixels: Tensor) -> tuple[tuple[Tensor, ...], Tensor | None]:
        """Encode as `forward`, and give what was detected on the way.

        Returns:
            The maps, and K boxes an image, the surest first, shape (B, K, 4 + V): left, top, right, bottom in shares
            of the image's sides, then the score of each name in [0, 1]. Boxes of one object are not thinned out.
            None where the tower detects nothing.
        """
        return self(pixels), None

    @abstractmethod
    def load_weights(self, *paths: Path) -> None:
        """Read pretrained weights from the paths that the weight resolver gave, in the order of the tower's record."""

    @abstractmethod
    def lora_targets(self, layers: Sequence[int]) -> list[str]:
        """Name the modules inside the tower that low-rank adapters of these layers belong to."""


@dataclass(frozen=True)
class AttentionMask:
    """Where attention inside a vision transformer goes.

    Attributes:
        tokens: True for the patches that are meant, shape (B, h, w), bool.
        layers: Only the last block, or all of them.
        queries: "cls": what the class token sees of the patches; "all": what the patches see of each other.
    """

    tokens: Tensor
    layers: Literal["last", "all"] = "all"
    queries: Literal["cls", "all"] = "cls"


class TokenTower(ImageTower):
    """A vision transformer with a class token, which also embeds an image as one vector.

    Attributes:
        layers: Blocks whose output is taken, rising.
        embedding_dim: Channels of an image's embedding.
    """

    layers: tuple[int, ...]
    embedding_dim: int

    @abstractmethod
    def encode_tokens(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """Give the states of the class token and all patches after each taken block, each (B, 1 + h * w, C)."""

    @abstractmethod
    def embed_images(self, pixels: Tensor, attention_mask: AttentionMask | None = None) -> Tensor:
        """Embed normalized pixels, shape (B, 3, H, W), as vectors of whatever length, shape (B, embedding_dim)."""

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        grid_hw = (pixels.shape[2] // self.multiple, pixels.shape[3] // self.multiple)
        return tuple(states[:, 1:].transpose(1, 2).unflatten(2, grid_hw) for states in self.encode_tokens(pixels))


class TextTower(nn.Module, ABC):
    """A text encoder with its tokenizer.

    Attributes:
        dim: Channels of the pooled vector.
        token_dim: Channels of the token states.
        max_tokens: Longest token sequence, special tokens included. A longer text loses its end, with a logged warning.
    """

    dim: int
    token_dim: int
    max_tokens: int

    @abstractmethod
    def tokenize(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Turn texts into token ids, shape (N, T), int64, and their mask, shape (N, T), bool."""

    @abstractmethod
    def forward(self, token_ids: Tensor, token_mask: Tensor) -> TextFeatures:
        """Encode token ids, shape (N, T)."""

    @abstractmethod
    def load_weights(self, *paths: Path) -> None:
        """Read pretrained weights from the paths that the weight resolver gave, in the order of the tower's record."""

    @abstractmethod
    def lora_targets(self, layers: Sequence[int]) -> list[str]:
        """Name the modules inside the tower that low-rank adapters of these layers belong to."""


def check_blocks(layers: Sequence[Layer], num_blocks: int) -> tuple[int, ...]:
    """Check which blocks of a transformer are to be taken.

    Raises:
        ValueError: they are not rising numbers of its blocks, or there is none.
    """
    blocks = [layer for layer in layers if isinstance(layer, int)]
    if not blocks or len(blocks) != len(layers) or blocks != sorted(set(blocks) & set(range(num_blocks))):
        raise ValueError(f"layers must be rising numbers from 0 to {num_blocks - 1}, got {tuple(layers)}")
    return tuple(blocks)


def check_pixels(pixels: Tensor, multiple: int) -> None:
    """Refuse pixels that a tower can't take.

    Args:
        pixels: Shape (B, 3, H, W).
        multiple: What H and W must be multiples of.

    Raises:
        ValueError: another number of dimensions or channels, or a size that is not a multiple.
    """
    if pixels.ndim != 4 or pixels.shape[1] != 3:
        raise ValueError(f"pixels must have shape (B, 3, H, W), got {tuple(pixels.shape)}")
    height, width = pixels.shape[-2:]
    if height % multiple or width % multiple:
        raise ValueError(f"height and width must be multiples of {multiple}, got {height}x{width}")


def tokenize_batch(tokenizer: Any, texts: Sequence[str], max_tokens: int) -> tuple[Tensor, Tensor]:
    """Turn texts into token ids by one of Hugging Face's tokenizers that pads, and cuts at max_tokens.

    Returns:
        Token ids, shape (N, T), int64, and their mask, shape (N, T), bool. A text that is cut is logged.
    """
    encoded = tokenizer.encode_batch(list(texts))
    for text, encoding in zip(texts, encoded, strict=True):
        if encoding.overflowing:
            logger.warning("cut to its first %d tokens: %.60s...", max_tokens, text)
    token_ids = torch.tensor([encoding.ids for encoding in encoded])
    return token_ids, torch.tensor([encoding.attention_mask for encoding in encoded], dtype=torch.bool)
