"""Compute a mask from decoded image cells: progressive upsampling, then a dot product with a predicted vector.

Paper: Kirillov et al. 2023, arXiv:2304.02643 (mask decoder); finer maps are added as in SAM 2, arXiv:2408.00714.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from promptseg.layers.norm import ChannelNorm


class ProgressiveUpsampler(nn.Module):
    """Two transposed convolutions, which each double height and width; a finer map may be added after one of them.

    Args:
        dim: Channels of the input.
        skip_dim: Channels of the finer map; None: no finer map.
        skip_scale: Ratio of the finer map's size to that of the input: 2 is added after the first step, 4 after the
            second.

    Raises:
        ValueError: `skip_scale` is neither 2 nor 4.
    """

    def __init__(self, dim: int, *, skip_dim: int | None = None, skip_scale: int = 4) -> None:
        super().__init__()
        if skip_scale not in (2, 4):
            raise ValueError(f"skip_scale must be 2 or 4, got {skip_scale}")
        self.out_channels = dim // 8
        self.upscale_conv1 = nn.ConvTranspose2d(dim, dim // 4, kernel_size=2, stride=2)
        self.upscale_layer_norm = ChannelNorm(dim // 4)
        self.upscale_conv2 = nn.ConvTranspose2d(dim // 4, self.out_channels, kernel_size=2, stride=2)
        self.skip_scale = skip_scale
        self.skip = nn.Conv2d(skip_dim, dim // (4 if skip_scale == 2 else 8), 1) if skip_dim is not None else None

    def project_skip(self, fine: Tensor | None) -> Tensor | None:
        """Project finer maps, shape (B, skip_dim, hf, wf), to the channels of the map that they are added to."""
        return None if self.skip is None or fine is None else self.skip(fine)

    def forward(self, x: Tensor, skip: Tensor | None = None) -> Tensor:
        """Upsample decoded cells four times.

        Args:
            x: Decoded cells, shape (N, dim, h, w).
            skip: Results of `project_skip`, one for each of the N; None: no finer map.

        Returns:
            Shape (N, dim // 8, 4h, 4w).
        """
        x = self.upscale_conv1(x)
        if skip is not None and self.skip_scale == 2:
            x = x + skip
        x = self.upscale_conv2(F.gelu(self.upscale_layer_norm(x)))
        if skip is not None and self.skip_scale == 4:
            x = x + skip
        return F.gelu(x)


def project_dynamically(vectors: Tensor, maps: Tensor) -> Tensor:
    """Compute the dot product of each query's vector with every cell of its map.

    Args:
        vectors: Shape (N, C).
        maps: Shape (N, C, h, w).

    Returns:
        Logits, shape (N, h, w).
    """
    return torch.einsum("nc,nchw->nhw", vectors, maps)
