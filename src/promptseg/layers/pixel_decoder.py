"""Mask2Former's pixel decoder: deformable attention over three maps of a tower, and one step of a feature pyramid.

Paper: Cheng et al. 2022, arXiv:2112.01527; facebookresearch/Mask2Former (MIT), pixel_decoder/msdeformattn.py.
Differs: Uni-OVSeg's options, random Fourier codes and layer norm, beside Mask2Former's sines and group norm.

Shapes: B images, D width; maps have the strides 4, 8, 16, 32.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from promptseg.layers.deformable import DeformableAttention, SizesHw
from promptseg.layers.neck import NUM_GROUPS
from promptseg.layers.norm import ChannelNorm
from promptseg.layers.position import PositionKind, build_positions, grid_positions
from promptseg.layers.two_way import TokenMlp

MapNorm = Literal["layer", "group"]
NUM_LEVELS = 3


@dataclass(frozen=True)
class PixelFeatures:
    """What a mask decoder reads.

    Attributes:
        maps: Three maps, the coarsest first (strides 32, 16, 8), each of shape (B, D, h, w).
        mask_features: The map whose product with a query is a mask, stride 4, shape (B, D, h, w).
    """

    maps: tuple[Tensor, ...]
    mask_features: Tensor


class DeformableLayer(nn.Module):
    """Deformable self-attention of all cells and a feed-forward part; a norm follows each.

    Args:
        dim: Width.
        num_heads: Attention heads.
        num_points: Points of each head in each map.
        mlp_dim: Inner width of the feed-forward part.
    """

    def __init__(self, dim: int, *, num_heads: int, num_points: int, mlp_dim: int) -> None:
        super().__init__()
        self.attention = DeformableAttention(dim, num_heads=num_heads, num_levels=NUM_LEVELS, num_points=num_points)
        self.attention_norm = nn.LayerNorm(dim)
        self.mlp = TokenMlp(dim, mlp_dim)
        self.mlp_norm = nn.LayerNorm(dim)

    def forward(self, cells: Tensor, codes: Tensor, references_xy_unit: Tensor, sizes_hw: SizesHw) -> Tensor:
        """Update cells, shape (B, S, D); codes, shape (1, S, D), say where they are and of which map."""
        cells = self.attention_norm(cells + self.attention(cells + codes, references_xy_unit, cells, sizes_hw))
        return self.mlp_norm(cells + self.mlp(cells))


class PixelDecoder(nn.Module):
    """Let the maps of strides 32, 16 and 8 attend to each other, then refine the result with the map of stride 4.

    It computes in float32 whatever the precision of the network, as the published one.

    Args:
        in_channels: Channels of the tower's maps, strides 4, 8, 16 and 32.
        dim: Width D of all results.
        num_layers: Deformable layers.
        num_heads: Attention heads.
        num_points: Points of each head in each map.
        mlp_dim: Inner width of the layers' feed-forward parts.
        positions: Kind of the position codes.
        norm: Norm of the three input projections; that of the feature pyramid is always a group norm.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        *,
        dim: int,
        num_layers: int,
        num_heads: int,
        num_points: int,
        mlp_dim: int,
        positions: PositionKind,
        norm: MapNorm,
    ) -> None:
        super().__init__()
        fine_channels, *coarse_channels = in_channels
        self.projections = nn.ModuleList(_projection(channels, dim, norm) for channels in reversed(coarse_channels))
        self.positions = build_positions(positions, dim)
        self.level_codes = nn.Parameter(torch.randn(NUM_LEVELS, dim))
        self.layers = nn.ModuleList(
            DeformableLayer(dim, num_heads=num_heads, num_points=num_points, mlp_dim=mlp_dim) for _ in range(num_layers)
        )
        self.lateral = nn.Sequential(nn.Conv2d(fine_channels, dim, 1, bias=False), _group_norm(dim))
        self.smooth = nn.Sequential(nn.Conv2d(dim, dim, 3, padding=1, bias=False), _group_norm(dim), nn.ReLU())
        self.mask_features = nn.Conv2d(dim, dim, 1)

    def forward(self, maps: Sequence[Tensor]) -> PixelFeatures:
        """Decode the tower's maps, strides 4, 8, 16 and 32, each of shape (B, C_i, h_i, w_i)."""
        with torch.autocast(maps[0].device.type, enabled=False):
            return self._decode([one.float() for one in maps])

    def _decode(self, maps: Sequence[Tensor]) -> PixelFeatures:
        fine, *coarse = maps
        levels = [project(one) for project, one in zip(self.projections, reversed(coarse), strict=True)]
        sizes_hw = [(level.shape[2], level.shape[3]) for level in levels]
        cells = torch.cat([level.flatten(2).transpose(1, 2) for level in levels], dim=1)
        codes = torch.cat(
            [self.positions(size) + code for size, code in zip(sizes_hw, self.level_codes, strict=True)], dim=1
        )
        references_xy_unit = torch.cat([grid_positions(size, like=cells) for size in sizes_hw])
        for layer in self.layers:
            cells = layer(cells, codes, references_xy_unit, sizes_hw)
        decoded = [
            part.transpose(1, 2).unflatten(2, size)
            for part, size in zip(cells.split([h * w for h, w in sizes_hw], dim=1), sizes_hw, strict=True)
        ]
        lateral = self.lateral(fine)
        enlarged = F.interpolate(decoded[-1], size=lateral.shape[-2:], mode="bilinear", align_corners=False)
        return PixelFeatures(tuple(decoded), self.mask_features(self.smooth(lateral + enlarged)))


def _projection(channels: int, dim: int, norm: MapNorm) -> nn.Sequential:
    convolution = nn.Conv2d(channels, dim, 1)
    nn.init.xavier_uniform_(convolution.weight)
    assert convolution.bias is not None  # as nn.Conv2d has by default
    nn.init.zeros_(convolution.bias)
    return nn.Sequential(convolution, ChannelNorm(dim) if norm == "layer" else _group_norm(dim))


def _group_norm(dim: int) -> nn.GroupNorm:
    return nn.GroupNorm(min(NUM_GROUPS, dim // 4), dim)
