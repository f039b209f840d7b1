"""Encode the position of a cell in the image as a vector."""

import math

import torch
from torch import Tensor, nn


class FourierPositions(nn.Module):
    """Random Fourier features of cell centers, as in SAM's decoder.

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

    def forward(self, size_hw: tuple[int, int]) -> Tensor:
        """Compute the codes of a grid of cells, shape (1, h * w, dim), row by row."""
        height, width = size_hw
        frequencies = self.positional_embedding
        y = (torch.arange(height, device=frequencies.device, dtype=frequencies.dtype) + 0.5) / height
        x = (torch.arange(width, device=frequencies.device, dtype=frequencies.dtype) + 0.5) / width
        grid_y, grid_x = torch.meshgrid(y, x, indexing="ij")
        centers_xy_unit = torch.stack([grid_x, grid_y], dim=-1).flatten(0, 1)
        angles = 2 * math.pi * ((2 * centers_xy_unit - 1) @ frequencies)
        return torch.cat([angles.sin(), angles.cos()], dim=-1)[None]
