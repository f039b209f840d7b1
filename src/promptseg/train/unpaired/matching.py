"""Many-to-many matching: the masks of each point are assigned to the true masks that the point lies in.

For each point, its predictions (one of every granularity) and the true masks around it are matched one to one, at the
least cost. So a point gets up to four true masks, and a true mask is matched by every point inside it. Predictions that
stay unmatched have no loss.

Paper: Wang et al. 2024, arXiv:2402.08960, section 3.3, which names the strategy; its costs as in the authors' training
code: 2 x cross-entropy + 1 x Dice, at 128 x 128 cells.

Shapes: P points, K granularities, N true masks, M matched pairs, h w cells.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from torch import Tensor

BCE_WEIGHT, DICE_WEIGHT = 2.0, 1.0
# Cost of a true mask that the point does not lie in: such pairs complete an assignment, and are then dropped.
OUTSIDE_COST = 1e6


@dataclass(frozen=True)
class MatchedPairs:
    """M pairs of a predicted and a true mask of one image.

    Attributes:
        points: Index of the point, shape (M,), int64.
        granularities: Index of its prediction, shape (M,), int64.
        masks: Index of the true mask, shape (M,), int64.
    """

    points: Tensor
    granularities: Tensor
    masks: Tensor

    def __len__(self) -> int:
        return len(self.masks)


def match_points(mask_logits: Tensor, masks: Tensor, contains: Tensor) -> MatchedPairs:
    """Match the predictions of points with true masks.

    Args:
        mask_logits: Shape (P, K, h, w).
        masks: The true masks at the same resolution, shape (N, h, w), bool.
        contains: Whether each point lies in each true mask, shape (P, N), bool.
    """
    num_points, num_granularities = mask_logits.shape[:2]
    costs = pairwise_costs(mask_logits.flatten(0, 1), masks).view(num_points, num_granularities, -1)
    inside = contains.cpu().numpy()
    penalized = costs.double().cpu().numpy() + OUTSIDE_COST * ~inside[:, None]
    found = [
        (point, granularity, mask)
        for point in np.flatnonzero(inside.any(axis=1)).tolist()
        for granularity, mask in zip(*linear_sum_assignment(penalized[point]), strict=True)
        if inside[point, mask]
    ]
    rows = torch.tensor(found, dtype=torch.int64, device=mask_logits.device).reshape(-1, 3)
    return MatchedPairs(*rows.unbind(dim=1))


@torch.no_grad()
def pairwise_costs(mask_logits: Tensor, masks: Tensor) -> Tensor:
    """Compute the cost of each pair of a predicted and a true mask, over all cells.

    Args:
        mask_logits: Shape (Q, h, w).
        masks: Shape (N, h, w), bool.

    Returns:
        Shape (Q, N), float32.
    """
    logits, true = mask_logits.flatten(1).float(), masks.flatten(1).float()
    # the cross-entropy of a cell is softplus(logit) - logit where the mask is, else softplus(logit)
    entropy = (F.softplus(logits).sum(1, keepdim=True) - logits @ true.T) / logits.shape[1]
    return BCE_WEIGHT * entropy + DICE_WEIGHT * (1.0 - pairwise_dice(mask_logits, masks))


@torch.no_grad()
def pairwise_dice(mask_logits: Tensor, masks: Tensor) -> Tensor:
    """Compute the Dice coefficient (+ 1 smoothing) of each pair; arguments and result as `pairwise_costs`."""
    probability, true = mask_logits.flatten(1).float().sigmoid(), masks.flatten(1).float()
    total = probability.sum(1, keepdim=True) + true.sum(1)
    return (2.0 * (probability @ true.T) + 1.0) / (total + 1.0)


def points_inside(points_xy_unit: Tensor, masks: Tensor) -> Tensor:
    """Find which points lie in which masks.

    Args:
        points_xy_unit: As shares of the sides, shape (P, 2).
        masks: Shape (N, H, W), bool.

    Returns:
        Shape (P, N), bool.
    """
    height, width = masks.shape[-2:]
    columns = (points_xy_unit[:, 0] * width).long().clamp(0, width - 1)
    rows = (points_xy_unit[:, 1] * height).long().clamp(0, height - 1)
    return masks[:, rows, columns].T
