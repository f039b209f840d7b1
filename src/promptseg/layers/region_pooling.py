"""Average a map over regions, each given by a mask: one vector for each region.

Paper: mask pooling as in Wang et al. 2024, arXiv:2402.08960. Differs: cells count by the share of their area that the
mask covers. The published code counts the cells in which a shrunken mask reaches one half; a small mask has none, and
its vector is zero.

Shapes: B images, R regions, C channels.
"""

from typing import Literal

import torch.nn.functional as F
from torch import Tensor

Pooling = Literal["shares", "cells"]


def cell_weights(mask_logits: Tensor, size_hw: tuple[int, int], pooling: Pooling = "shares") -> Tensor:
    """Compute how much each cell of a map counts for each region.

    Args:
        mask_logits: Shape (B, R, H, W); above or equal to 0 means region. The map is not finer than this.
        size_hw: Height and width of the map.
        pooling: "shares": the share of the cell that the region covers. "cells": 1 where the mask, shrunken
            bilinearly, is above or equal to 0, else 0, as published.

    Returns:
        Shape (B, R, *size_hw), in [0, 1].
    """
    if pooling == "shares":
        return F.adaptive_avg_pool2d((mask_logits >= 0).to(mask_logits.dtype), size_hw)
    shrunken = F.interpolate(mask_logits, size=size_hw, mode="bilinear", align_corners=False)
    return (shrunken >= 0).to(mask_logits.dtype)


def pool_regions(features: Tensor, weights: Tensor) -> Tensor:
    """Average a map over regions.

    Args:
        features: Shape (B, C, h, w).
        weights: Result of `cell_weights`, shape (B, R, h, w).

    Returns:
        Shape (B, R, C); zero for a region without any cell.
    """
    flat = weights.flatten(2)
    # not clamped at 1: the shares of a small region sum to less
    return (flat @ features.flatten(2).transpose(1, 2)) / flat.sum(dim=2, keepdim=True).clamp(min=1e-8)
