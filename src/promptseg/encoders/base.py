"""Interfaces of image and text towers.

Shapes: B images, N texts, T tokens, C channels, H W pixels, h w features.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from promptseg.encoders.tokenizers import MissingTokenizer, Tokenizer
from promptseg.encoders.tower_facts import IMAGENET_MEAN, IMAGENET_STD, Layer


@dataclass(frozen=True)
class TextFeatures:
    """Output of a text tower for N texts.

    Attributes:
        pooled: One L2-normalized vector per text, shape (N, C).
        embedding: The same vectors before normalization, shape (N, C).
        tokens: Token states, shape (N, T, C).
        token_mask: True for real tokens, False for padding, bool, shape (N, T).
    """

    pooled: Tensor
    embedding: Tensor
    tokens: Tensor
    token_mask: Tensor


class ImageTower(nn.Module, ABC):
    """An image encoder that returns one map for each of its chosen layers.

    Attributes:
        channels: Channels of each map.
        strides: Stride of each map in input pixels, non-decreasing.
        multiple: Height and width of the input must be multiples of this.
        mean: Mean per channel that is subtracted from RGB in [0, 1].
        std: Deviation per channel that the difference is divided by.
        detected_names: Names of the V classes that it also detects; empty: none.
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
        """Encode as `forward`, and also detect objects.

        Returns:
            The maps, and K boxes per image, best first, shape (B, K, 4 + V): left, top, right, bottom as shares of the
            image's sides, then the score of each name in [0, 1], without non-maximum suppression. None instead of the
            boxes if the tower has no detector.
        """
        return self(pixels), None

    @abstractmethod
    def load_weights(self, *paths: Path) -> None:
        """Load pretrained weights from the paths of the weight resolver, in the order of the tower's record.

        Raises:
            WeightsError: The files do not hold weights of this tower.
        """

    @abstractmethod
    def lora_targets(self, layers: Sequence[int]) -> list[str]:
        """Name the modules of these layers that low-rank adapters are added to."""


@dataclass(frozen=True)
class AttentionMask:
    """Mask for the attention inside a vision transformer.

    Attributes:
        tokens: True for the patches of the object, bool, shape (B, h, w).
        layers: Apply it in the last block only, or in all blocks.
        queries: "cls": mask the attention of the class token to the patches; "all": mask that between patches.
    """

    tokens: Tensor
    layers: Literal["last", "all"] = "all"
    queries: Literal["cls", "all"] = "cls"


class TokenTower(ImageTower):
    """A vision transformer with a class token, which also embeds an image as one vector.

    Attributes:
        layers: Blocks whose output is returned, ascending.
        embedding_dim: Dimension of an image's embedding.
    """

    layers: tuple[int, ...]
    embedding_dim: int

    @abstractmethod
    def encode_tokens(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """Compute the states of the class token and all patches after each chosen block, each (B, 1 + h * w, C)."""

    @abstractmethod
    def embed_images(self, pixels: Tensor, attention_mask: AttentionMask | None = None) -> Tensor:
        """Embed normalized pixels, shape (B, 3, H, W), as unnormalized vectors, shape (B, embedding_dim)."""

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """Encode normalized pixels, shape (B, 3, H, W), to maps of shape (B, C, h, w)."""
        grid_hw = (pixels.shape[2] // self.multiple, pixels.shape[3] // self.multiple)
        return tuple(states[:, 1:].transpose(1, 2).unflatten(2, grid_hw) for states in self.encode_tokens(pixels))


class TextTower(nn.Module, ABC):
    """A text encoder with its tokenizer.

    Attributes:
        tokenizer: Converts texts to tokens; `MissingTokenizer` if the vocabulary is not loaded.
        dim: Dimension of the pooled vector.
        token_dim: Dimension of the token states.
        max_tokens: Maximum number of tokens, special tokens included. Longer texts are truncated with a logged warning.
    """

    tokenizer: Tokenizer
    dim: int
    token_dim: int
    max_tokens: int

    def __init__(self, tokenizer: Tokenizer | None = None) -> None:
        super().__init__()
        self.tokenizer = tokenizer or MissingTokenizer(type(self).__name__)

    def tokenize(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Convert texts to token ids, shape (N, T), int64, and their mask, shape (N, T), bool.

        Raises:
            WeightsError: The vocabulary is not loaded.
        """
        token_ids, token_mask = self.tokenizer(texts)
        return torch.from_numpy(token_ids), torch.from_numpy(token_mask)

    def read(self, texts: Sequence[str]) -> TextFeatures:
        """Tokenize and encode N texts, on the tower's device.

        Raises:
            WeightsError: The vocabulary is not loaded.
        """
        token_ids, token_mask = self.tokenize(texts)
        device = next(self.parameters()).device
        features: TextFeatures = self(token_ids.to(device), token_mask.to(device))
        return features

    @abstractmethod
    def forward(self, token_ids: Tensor, token_mask: Tensor) -> TextFeatures:
        """Encode token ids, shape (N, T), int64, with their mask, shape (N, T), bool."""

    @abstractmethod
    def load_weights(self, *paths: Path) -> None:
        """Load pretrained weights from the paths of the weight resolver, in the order of the tower's record.

        Raises:
            WeightsError: The files do not hold weights of this tower.
        """

    @abstractmethod
    def lora_targets(self, layers: Sequence[int]) -> list[str]:
        """Name the modules of these layers that low-rank adapters are added to."""


def check_blocks(layers: Sequence[Layer], num_blocks: int) -> tuple[int, ...]:
    """Check the chosen blocks of a transformer and return their numbers.

    Raises:
        ValueError: The layers are empty, or not ascending block numbers from 0 to num_blocks - 1.
    """
    blocks = [layer for layer in layers if isinstance(layer, int)]
    if not blocks or len(blocks) != len(layers) or blocks != sorted(set(blocks) & set(range(num_blocks))):
        raise ValueError(f"layers must be ascending numbers from 0 to {num_blocks - 1}, got {tuple(layers)}")
    return tuple(blocks)


def check_pixels(pixels: Tensor, multiple: int) -> None:
    """Refuse pixels of a shape that a tower can't take.

    Args:
        pixels: Shape (B, 3, H, W).
        multiple: H and W must be multiples of this.

    Raises:
        ValueError: The pixels have another number of dimensions or channels, or a size that is not a multiple.
    """
    if pixels.ndim != 4 or pixels.shape[1] != 3:
        raise ValueError(f"pixels must have shape (B, 3, H, W), got {tuple(pixels.shape)}")
    height, width = pixels.shape[-2:]
    if height % multiple or width % multiple:
        raise ValueError(f"height and width must be multiples of {multiple}, got {height}x{width}")
