"""Uni-OVSeg's multi-scale feature adapter: one low-rank adapter for each map of the tower.

Each adapter is two linear layers with an activation between them; it adds to the vector of a region what the map of its
scale shows there. The second layers start at zero, so an untrained adapter changes nothing.

Paper: Wang et al. 2024, arXiv:2402.08960, appendix A. The paper shows the wiring in a figure only, and its code is not
public, so the wiring is ours: since pooling and the second layer are linear, regions are pooled between the two layers,
and an encoded image keeps only `rank` channels of each map.

Shapes: B images, R regions, r = rank.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class FeatureAdapter(nn.Module):
    """Low-rank updates of region vectors from several maps.

    Args:
        in_channels: Channels of each map.
        dim: Width of a region's vector.
        rank: Width between the two layers.
    """

    def __init__(self, in_channels: Sequence[int], dim: int, *, rank: int) -> None:
        super().__init__()
        self.down = nn.ModuleList(nn.Linear(channels, rank) for channels in in_channels)
        self.up = nn.ModuleList(_zero_linear(rank, dim) for _ in in_channels)

    def reduce(self, maps: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Apply the first layers to maps of shape (B, C_i, h_i, w_i): maps of shape (B, r, h_i, w_i)."""
        return tuple(
            F.gelu(layer(one.permute(0, 2, 3, 1))).permute(0, 3, 1, 2)
            for layer, one in zip(self.down, maps, strict=True)
        )

    def update(self, pooled: Sequence[Tensor]) -> Tensor:
        """Apply the second layers to the pooled results of `reduce`, each (B, R, r): their sum, shape (B, R, dim)."""
        return torch.stack([layer(one) for layer, one in zip(self.up, pooled, strict=True)]).sum(dim=0)


def _zero_linear(in_features: int, out_features: int) -> nn.Linear:
    linear = nn.Linear(in_features, out_features, bias=False)
    nn.init.zeros_(linear.weight)
    return linear
