"""Uni-OVSeg's visual prompts: points and boxes as the queries of a masked-attention decoder.

Every prompt is one or more boxes, for a point is a small box. A box is two tokens, one for each corner: the code of its
position, of the corner, of the kind of prompt, and the image's features at its center. A token for each mask that is
wanted follows: the single one of a box or of several points, and one for each granularity of a point.

Paper: Wang et al. 2024, arXiv:2402.08960, section 3.3 and appendix A; what it leaves open as in the authors' inference
code (github.com/DerrickWang005/Unpair-Seg.pytorch). Differs: the single mask of several points is read from its own
token; the code reads a corner's.

Shapes: B images, N prompts, P boxes of a prompt, T tokens, G granularities, D width.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from promptseg.layers.position import PositionKind, build_positions

PromptKind = Literal["point", "box"]
SINGLE = 0  # head, and row of the granularity codes, for the only mask of a prompt


@dataclass(frozen=True)
class MaskQueries:
    """The queries of N prompts on each of B images.

    Attributes:
        tokens: Shape (B, N, T, D); the last ones are those of the masks.
        first_output: Index of the first token that a mask is read from.
        heads: Head of each mask that is read; the masks' tokens are consecutive.
    """

    tokens: Tensor
    first_output: int
    heads: tuple[int, ...]


class PromptQueries(nn.Module):
    """Embed points and boxes.

    Args:
        dim: Width D.
        num_granularities: Masks G of a point.
        positions: Kind of the position codes.
    """

    def __init__(self, dim: int, *, num_granularities: int, positions: PositionKind) -> None:
        super().__init__()
        self.num_granularities = num_granularities
        self.positions = build_positions(positions, dim)
        self.corner_codes = nn.Parameter(torch.randn(2, dim))
        self.point_code = nn.Parameter(torch.randn(dim))
        self.box_code = nn.Parameter(torch.randn(dim))
        self.label_codes = nn.Parameter(torch.randn(2, dim))
        self.granularity_codes = nn.Parameter(torch.randn(1 + num_granularities, dim))

    def embed_point(self, boxes_xyxy_unit: Tensor, mask_features: Tensor) -> MaskQueries:
        """Ask for the masks of one point each, one of every granularity.

        Args:
            boxes_xyxy_unit: Small boxes around the points, as shares of the image's sides, shape (B, N, 4).
            mask_features: Shape (B, D, h, w).
        """
        corners = self._corners(boxes_xyxy_unit[:, :, None], mask_features)
        corners = corners + (self.point_code + self.label_codes[1])
        return self._ask(corners, self.granularity_codes, wanted=range(1, 1 + self.num_granularities))

    def embed_points(self, boxes_xyxy_unit: Tensor, on_object: Tensor, mask_features: Tensor) -> MaskQueries:
        """Ask for the single mask of several points each.

        Args:
            boxes_xyxy_unit: Small boxes around the points, as shares of the image's sides, shape (B, N, P, 4).
            on_object: Whether each point lies on the object, bool, shape (B, N, P).
            mask_features: Shape (B, D, h, w).
        """
        labels = self.label_codes[on_object.long()][:, :, :, None]
        corners = self._corners(boxes_xyxy_unit, mask_features) + self.point_code + labels
        return self._ask(corners, self.granularity_codes[:1], wanted=(SINGLE,))

    def embed_box(self, boxes_xyxy_unit: Tensor, mask_features: Tensor) -> MaskQueries:
        """Ask for the single mask of one box each; arguments as `embed_point`."""
        corners = self._corners(boxes_xyxy_unit[:, :, None], mask_features) + self.box_code
        return self._ask(corners, self.granularity_codes, wanted=(SINGLE,))

    def _corners(self, boxes_xyxy_unit: Tensor, mask_features: Tensor) -> Tensor:
        """Encode the two corners of each box, with the features at its center: (B, N, P, 2, D)."""
        corners_xy_unit = boxes_xyxy_unit.unflatten(-1, (2, 2))
        centers = 2 * corners_xy_unit.mean(dim=-2) - 1
        content = F.grid_sample(mask_features, centers, align_corners=False).permute(0, 2, 3, 1)
        return self.positions.encode(corners_xy_unit) + self.corner_codes + content[:, :, :, None]

    def _ask(self, corners: Tensor, mask_codes: Tensor, *, wanted: Sequence[int]) -> MaskQueries:
        """Append the masks' tokens to the corners of each prompt, (B, N, P, 2, D)."""
        corners = corners.flatten(2, 3)
        batch, num_prompts, num_corners, _ = corners.shape
        tokens = torch.cat([corners, mask_codes.expand(batch, num_prompts, -1, -1)], dim=2)
        return MaskQueries(tokens, num_corners + wanted[0], tuple(wanted))
