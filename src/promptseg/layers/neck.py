"""Necks: fuse the maps of an image tower to one map for the decoder, and optionally a finer one.

Papers: Lin et al. 2017, arXiv:1612.03144 (feature pyramids); Liu et al. 2022, arXiv:2201.03545 (blocks of the pyramid).
The neck for transformers has group norm and GELU, as in promptseg's first description.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from promptseg.layers.convnext import ContextStage
from promptseg.layers.pointwise import Pointwise

NUM_GROUPS = 32
FUSED_STRIDE = 16  # of a pyramid's fused map


@dataclass(frozen=True)
class NeckMaps:
    """Maps of B images.

    Attributes:
        fused: Shape (B, dim, h, w).
        fine: Shape (B, fine_dim, hf, wf), or None if the neck computes no finer map.
    """

    fused: Tensor
    fine: Tensor | None


def conv_block(in_channels: int, out_channels: int, kernel_size: int) -> nn.Sequential:
    """Build a block of convolution, group norm and GELU that keeps height and width."""
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2),
        nn.GroupNorm(min(NUM_GROUPS, out_channels // 4), out_channels),
        nn.GELU(),
    )


class SingleStrideNeck(nn.Module):
    """Fuse layers of a plain vision transformer, which all have the same stride.

    Each layer passes through a 1x1 and a 3x3 block; their sum passes through another 3x3 block.

    Args:
        in_channels: Channels of each layer.
        dim: Channels of the fused map.
    """

    def __init__(self, in_channels: Sequence[int], *, dim: int) -> None:
        super().__init__()
        self.levels = nn.ModuleList(
            nn.Sequential(conv_block(channels, dim, 1), conv_block(dim, dim, 3)) for channels in in_channels
        )
        self.fuse = conv_block(dim, dim, 3)

    def forward(self, maps: Sequence[Tensor]) -> NeckMaps:
        """Fuse maps, each of shape (B, C_i, h, w)."""
        levels = torch.stack([level(x) for level, x in zip(self.levels, maps, strict=True)])
        return NeckMaps(fused=self.fuse(levels.sum(dim=0)), fine=None)


class PyramidNeck(nn.Module):
    """Fuse a convolutional tower's maps from coarse to fine, with ConvNeXt blocks at each stride.

    It starts with the mean of the coarsest map in every cell, an overview of the image. The width is `dim` down to the
    fused stride, and the smaller `fine_dim` below it, where there are more cells.

    Args:
        in_channels: Channels of each map.
        strides: Stride of each map, non-decreasing; each equals the previous one or its double.
        dim: Channels of the fused map.
        fused_stride: Stride of the fused map, one of `strides`.
        fine_dim: Channels of the fine map.
        fine_stride: Stride of the fine map, one of `strides` and below fused_stride; None: no fine map.
        num_blocks: Blocks at each stride except the coarsest, which has one.

    Raises:
        ValueError: `fused_stride` or `fine_stride` is not among the strides, or they are in the wrong order.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        strides: Sequence[int],
        *,
        dim: int,
        fused_stride: int = 16,
        fine_dim: int = 128,
        fine_stride: int | None = None,
        num_blocks: int = 2,
    ) -> None:
        super().__init__()
        if fused_stride not in strides:
            raise ValueError(f"fused_stride must be one of {tuple(strides)}, got {fused_stride}")
        if fine_stride is not None and (fine_stride not in strides or fine_stride >= fused_stride):
            raise ValueError(f"fine_stride must be one of {tuple(strides)} below {fused_stride}, got {fine_stride}")
        finest = fused_stride if fine_stride is None else fine_stride
        self.fused_stride = fused_stride
        # maps finer than the finest output are not used
        self.first_map = min(i for i, stride in enumerate(strides) if stride >= finest)
        self.strides = tuple(strides[self.first_map :])
        widths = [dim if stride >= fused_stride else fine_dim for stride in self.strides]
        self.laterals = nn.ModuleList(
            Pointwise(channels, width) for channels, width in zip(in_channels[self.first_map :], widths, strict=True)
        )
        self.overview = nn.Linear(in_channels[-1], dim)
        # maps with the same stride share one stage
        self.stages = nn.ModuleDict(
            {
                str(stride): ContextStage(width, num_blocks=1 if stride == self.strides[-1] else num_blocks)
                for stride, width in zip(self.strides, widths, strict=True)
            }
        )
        self.narrow = Pointwise(dim, fine_dim) if fine_stride is not None else None

    def forward(self, maps: Sequence[Tensor]) -> NeckMaps:
        """Fuse maps, the i-th of shape (B, C_i, h_i, w_i) with h_i = H / stride_i."""
        used = maps[self.first_map :]
        x = self.overview(used[-1].mean(dim=(2, 3)))[:, :, None, None]
        fused: Tensor | None = None
        for i in reversed(range(len(used))):
            lateral = self.laterals[i](used[i])
            if i + 1 < len(used) and self.strides[i] < self.strides[i + 1]:
                x = F.interpolate(x.float(), size=lateral.shape[-2:], mode="bilinear", align_corners=False)
            x = lateral + x
            if i > 0 and self.strides[i - 1] == self.strides[i]:
                continue
            x = self.stages[str(self.strides[i])](x)
            if self.strides[i] == self.fused_stride:
                fused = x
                x = self.narrow(fused) if self.narrow is not None else x
        assert fused is not None  # __init__ checks that a map has the fused stride
        return NeckMaps(fused=fused, fine=x if self.narrow is not None else None)


def build_neck(
    channels: Sequence[int], strides: Sequence[int], *, dim: int, fine_dim: int, fine_stride: int | None
) -> "SingleStrideNeck | PyramidNeck":
    """Build the neck for a tower's maps: a pyramid if their strides differ.

    Args:
        channels: Channels of each map.
        strides: Stride of each map.
        dim: Channels of the fused map.
        fine_dim: Channels of the finer map.
        fine_stride: Stride of the finer map, or None.

    Raises:
        ValueError: There is a `fine_stride`, but all maps have the same stride.
    """
    if len(set(strides)) == 1:
        if fine_stride is not None:
            raise ValueError(f"the tower's maps have one stride, {strides[0]}: set fine_stride=None")
        return SingleStrideNeck(channels, dim=dim)
    return PyramidNeck(
        channels, strides, dim=dim, fused_stride=FUSED_STRIDE, fine_dim=fine_dim, fine_stride=fine_stride
    )
