"""Encode positions in an image as vectors: those of the cells of a map, and those of points."""

import math
from abc import ABC, abstractmethod
from typing import Literal

import torch
from torch import Tensor, nn

PositionKind = Literal["fourier", "sine"]


class Positions(nn.Module, ABC):
    """A code for each position, of dimension `dim`; positions are shares of the image's sides, (x, y) in [0, 1]."""

    @abstractmethod
    def encode(self, points_xy_unit: Tensor) -> Tensor:
        """Encode points, shape (..., 2), as codes, shape (..., dim)."""

    @abstractmethod
    def forward(self, size_hw: tuple[int, int]) -> Tensor:
        """Encode the cells of a grid, shape (1, h * w, dim), row by row."""


class FourierPositions(Positions):
    """Random Fourier features, as in SAM's decoder; the position of a cell is its center.

    The frequencies are a buffer: they are drawn once, stored with the weights and never trained.

    Args:
        dim: Dimension of a code, even.

    Source:
        Tancik et al. 2020, arXiv:2006.10739; SamPositionalEmbedding of transformers 5.23 (Apache-2.0).
    """

    positional_embedding: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.register_buffer("positional_embedding", torch.randn(2, dim // 2))

    def encode(self, points_xy_unit: Tensor) -> Tensor:
        angles = 2 * math.pi * ((2 * points_xy_unit - 1) @ self.positional_embedding)
        return torch.cat([angles.sin(), angles.cos()], dim=-1)

    def forward(self, size_hw: tuple[int, int]) -> Tensor:
        return self.encode(grid_positions(size_hw, like=self.positional_embedding))[None]


class SinePositions(Positions):
    """Sines and cosines of fixed frequencies: the first half encodes y, the second x.

    The position of a cell is its lower right corner, as in DETR's code, not its center.

    Args:
        dim: Dimension of a code, a multiple of 4.
        temperature: Ratio of the highest to the lowest frequency.

    Source:
        Vaswani et al. 2017, arXiv:1706.03762; Mask2FormerSinePositionEmbedding of transformers 5.24 (Apache-2.0).
    """

    frequencies: Tensor

    def __init__(self, dim: int, *, temperature: float = 10_000.0) -> None:
        super().__init__()
        steps = torch.arange(dim // 4, dtype=torch.float32) / (dim // 4)
        # a constant: not stored with the weights
        self.register_buffer("frequencies", 2 * math.pi / temperature**steps, persistent=False)

    def encode(self, points_xy_unit: Tensor) -> Tensor:
        angles = points_xy_unit.flip(-1).unsqueeze(-1) * self.frequencies
        return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(-3)

    def forward(self, size_hw: tuple[int, int]) -> Tensor:
        return self.encode(grid_positions(size_hw, like=self.frequencies, shift=1.0))[None]


def build_positions(kind: PositionKind, dim: int) -> Positions:
    """Build position codes of a kind, of dimension `dim`."""
    return FourierPositions(dim) if kind == "fourier" else SinePositions(dim)


def grid_positions(size_hw: tuple[int, int], *, like: Tensor, shift: float = 0.5) -> Tensor:
    """Return a position in each cell of a grid, (x, y) as shares of its sides, row by row, shape (h * w, 2).

    Args:
        size_hw: Rows and columns of the grid.
        like: Gives device and dtype.
        shift: Where in a cell; 0.5 is its center, 1 its lower right corner.
    """
    y, x = ((torch.arange(side, device=like.device, dtype=like.dtype) + shift) / side for side in size_hw)
    grid_y, grid_x = torch.meshgrid(y, x, indexing="ij")
    return torch.stack([grid_x, grid_y], dim=-1).flatten(0, 1)
