"""Multi-scale deformable attention: each query reads a few points of each map, at places that it chooses itself.

Paper: Zhu et al. 2021, arXiv:2010.04159. Parameter names as in its code (fundamentalvision/Deformable-DETR, Apache-2.0)
and in transformers. Differs: plain PyTorch, no CUDA extension.

Shapes: B images, Q queries, S cells of all L maps together, D width, P points of each head in each map.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SizesHw = Sequence[tuple[int, int]]


class DeformableAttention(nn.Module):
    """Read values at learned offsets from a reference point, weighted by a softmax over all points of all maps.

    The initial weights are the paper's: head i looks in the i-th of `num_heads` directions, at distances 1 to P.

    Args:
        dim: Width D of queries and values.
        num_heads: Number of heads; divides dim.
        num_levels: Number of maps L.
        num_points: Number of points P.

    Raises:
        ValueError: `num_heads` does not divide `dim`.
    """

    def __init__(self, dim: int, *, num_heads: int, num_levels: int, num_points: int) -> None:
        super().__init__()
        if dim % num_heads:
            raise ValueError(f"num_heads must divide dim {dim}, got {num_heads}")
        self.num_heads, self.num_levels, self.num_points = num_heads, num_levels, num_points
        self.sampling_offsets = nn.Linear(dim, num_heads * num_levels * num_points * 2)
        self.attention_weights = nn.Linear(dim, num_heads * num_levels * num_points)
        self.value_proj = nn.Linear(dim, dim)
        self.output_proj = nn.Linear(dim, dim)
        self._initialize()

    def forward(self, queries: Tensor, references_xy_unit: Tensor, values: Tensor, sizes_hw: SizesHw) -> Tensor:
        """Compute the attention.

        Args:
            queries: Shape (B, Q, D).
            references_xy_unit: Reference point of each query, (x, y) as shares of the image's sides, shape (Q, 2).
            values: The cells of all maps, row by row, one map after the other, shape (B, S, D).
            sizes_hw: Height and width of each map.

        Returns:
            Shape (B, Q, D).
        """
        heads, levels, points = self.num_heads, self.num_levels, self.num_points
        offsets = self.sampling_offsets(queries).unflatten(-1, (heads, levels, points, 2))
        weights = self.attention_weights(queries).unflatten(-1, (heads, levels * points)).softmax(-1)
        # an offset is in cells of the map that it points into
        widths_heights = offsets.new_tensor([(width, height) for height, width in sizes_hw])
        locations = references_xy_unit[:, None, None, None] + offsets / widths_heights[:, None]
        read = sample_maps(
            self.value_proj(values).unflatten(-1, (heads, -1)),
            locations,
            weights.unflatten(-1, (levels, points)),
            sizes_hw,
        )
        return self.output_proj(read)

    @torch.no_grad()
    def _initialize(self) -> None:
        nn.init.zeros_(self.sampling_offsets.weight)
        angles = torch.arange(self.num_heads) * (2.0 * math.pi / self.num_heads)
        directions_xy = torch.stack([angles.cos(), angles.sin()], dim=-1)
        directions_xy = directions_xy / directions_xy.abs().amax(dim=-1, keepdim=True)
        distances = torch.arange(1, self.num_points + 1)
        offsets = directions_xy[:, None, None] * distances[:, None]
        self.sampling_offsets.bias.copy_(offsets.expand(-1, self.num_levels, -1, -1).flatten())
        nn.init.zeros_(self.attention_weights.weight)
        nn.init.zeros_(self.attention_weights.bias)
        for projection in (self.value_proj, self.output_proj):
            nn.init.xavier_uniform_(projection.weight)
            nn.init.zeros_(projection.bias)


def sample_maps(values: Tensor, locations_xy_unit: Tensor, weights: Tensor, sizes_hw: SizesHw) -> Tensor:
    """Read maps bilinearly at points and sum what is read with weights; outside a map is zero.

    Args:
        values: The cells of all L maps, divided among H heads, shape (B, S, H, D / H).
        locations_xy_unit: (x, y), 0 and 1 at the edges of the image, shape (B, Q, H, L, P, 2).
        weights: Shape (B, Q, H, L, P).
        sizes_hw: Height and width of each map.

    Returns:
        Shape (B, Q, D).
    """
    batch, _, heads, _ = values.shape
    grids = (2 * locations_xy_unit - 1).permute(3, 0, 2, 1, 4, 5).flatten(1, 2)  # (L, B * H, Q, P, 2)
    shares = weights.permute(3, 0, 2, 1, 4).flatten(1, 2).unsqueeze(2)  # (L, B * H, 1, Q, P)
    levels = values.permute(0, 2, 3, 1).flatten(0, 1).split([height * width for height, width in sizes_hw], dim=-1)
    # one map after the other, for they differ in size; summed at once, so that only one map's points are in memory
    read = sum(
        (F.grid_sample(level.unflatten(-1, size), grid, align_corners=False) * share).sum(-1)
        for level, size, grid, share in zip(levels, sizes_hw, grids, shares, strict=True)
    )
    assert isinstance(read, Tensor)  # there is a map
    return read.unflatten(0, (batch, heads)).flatten(1, 2).transpose(1, 2)
