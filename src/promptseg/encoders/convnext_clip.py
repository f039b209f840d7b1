"""OpenCLIP's ConvNeXt image tower: maps of four strides, and the projection of a region to the space of its texts.

Papers: Liu et al. 2022, arXiv:2201.03545; Radford et al. 2021, arXiv:2103.00020; Cherti et al. 2023, arXiv:2212.07143.
OpenCLIP's names (mlfoundations/open_clip, MIT; timm, Apache-2.0) are in `encoders/open_clip.py`.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from promptseg.encoders.base import ImageTower, check_pixels
from promptseg.encoders.open_clip import load_part, read_open_clip
from promptseg.encoders.tower_facts import CLIP_MEAN, CLIP_STD, Layer
from promptseg.layers.convnext import ContextBlock
from promptseg.layers.norm import ChannelNorm

# size: (widths of the four stages, blocks in each, dimension of the embedding)
SIZES = {
    "large-d-320": ((192, 384, 768, 1536), (3, 3, 27, 3), 768),
    "test": ((8, 16, 24, 32), (1, 1, 2, 1), 24),
}
STRIDES = (4, 8, 16, 32)
NORM_EPS = 1e-6
INITIAL_LOGIT_SCALE = 2.6593  # ln(1 / 0.07), as CLIP starts
MAX_LOGIT_SCALE = 100.0


class ConvNextClip(ImageTower):
    """ConvNeXt as CLIP's image tower, without its last pooling.

    Weights are random until `load_weights`.

    Args:
        size: "large-d-320" for OpenCLIP's convnext_large_d_320, or "test".
        layers: Strides out of 4, 8, 16, 32, ascending.

    Raises:
        ValueError: The size or a layer is unknown, or the layers are out of order.

    Attributes:
        embedding_dim: Dimension of a projected region.
    """

    multiple = 32
    mean = CLIP_MEAN
    std = CLIP_STD

    def __init__(self, size: str = "large-d-320", layers: Sequence[Layer] = STRIDES) -> None:
        super().__init__()
        if size not in SIZES:
            raise ValueError(f"size must be one of {', '.join(SIZES)}, got {size!r}")
        if not layers or [stride for stride in STRIDES if stride in layers] != list(layers):
            raise ValueError(f"layers must be out of {STRIDES}, ascending, got {tuple(layers)}")
        widths, depths, self.embedding_dim = SIZES[size]
        self.strides = tuple(stride for stride in STRIDES if stride in layers)
        self.channels = tuple(width for width, stride in zip(widths, STRIDES, strict=True) if stride in self.strides)
        self.stages = nn.ModuleList(
            _Stage(in_width, width, depth) for in_width, width, depth in zip((3, *widths), widths, depths, strict=False)
        )
        self.region_norm = nn.LayerNorm(widths[-1], eps=NORM_EPS)
        self.widen = nn.Linear(widths[-1], 2 * self.embedding_dim)
        self.narrow = nn.Linear(2 * self.embedding_dim, self.embedding_dim, bias=False)
        self.logit_scale = nn.Parameter(torch.tensor(INITIAL_LOGIT_SCALE))

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        check_pixels(pixels, self.multiple)
        maps = []
        x = pixels
        for stride, stage in zip(STRIDES, self.stages, strict=True):
            x = stage(x)
            if stride in self.strides:
                maps.append(x)
        return tuple(maps)

    def project(self, pooled: Tensor) -> Tensor:
        """Project pooled vectors of the map of stride 32, shape (..., C), to CLIP's space, shape (..., E)."""
        projected: Tensor = self.narrow(F.gelu(self.widen(self.region_norm(pooled))))
        return projected

    def cosine_scale(self) -> Tensor:
        """Return the factor that turns cosines with texts into logits, a scalar."""
        return self.logit_scale.exp().clamp(max=MAX_LOGIT_SCALE)

    def load_weights(self, *paths: Path) -> None:
        (path,) = paths
        load_part(self, "image", read_open_clip(path), source=str(path))

    def lora_targets(self, layers: Sequence[int]) -> list[str]:
        raise ValueError("the ConvNeXt tower takes no adapters; Uni-OVSeg has adapters of its own")


class _Stage(nn.Module):
    """Shrink a map (a stem where it is the image, else norm and convolution), then ConvNeXt blocks."""

    def __init__(self, in_channels: int, width: int, depth: int) -> None:
        super().__init__()
        is_stem = in_channels == 3
        step = 4 if is_stem else 2
        convolution = nn.Conv2d(in_channels, width, step, stride=step)
        parts = (convolution, ChannelNorm(width)) if is_stem else (ChannelNorm(in_channels), convolution)
        self.shrink = nn.Sequential(*parts)
        self.blocks = nn.Sequential(
            *(ContextBlock(width, expansion=4, layer_scale=1e-6, norm_eps=NORM_EPS) for _ in range(depth))
        )

    def forward(self, x: Tensor) -> Tensor:
        shrunken: Tensor = self.blocks(self.shrink(x))
        return shrunken
