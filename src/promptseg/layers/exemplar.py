"""Embed an exemplar, a region of another image, as a vector that replaces that of a text.

Shapes: E embedding, h w cells.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from promptseg.layers.mlp import Mlp


class ExemplarHead(nn.Module):
    """Embed a region of an image in the joint space of pixels and texts.

    It starts from the mean of the region's cells and learns a shift towards the vector of a text that names the object,
    given the region and its surroundings. Texts and exemplars can then be mixed, because both are vectors that are
    compared with the same cells.

    Args:
        embedding_dim: Dimension of the joint space.
        hidden_dim: Inner width.
    """

    def __init__(self, embedding_dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.shift = Mlp(2 * embedding_dim + 2, hidden_dim, embedding_dim, num_layers=2)
        nn.init.zeros_(self.shift.proj_out.weight)
        nn.init.zeros_(self.shift.proj_out.bias)

    def forward(self, cells: Tensor, coverage: Tensor) -> Tensor:
        """Embed an exemplar.

        Args:
            cells: Unit vectors of the exemplar's image, shape (E, h, w).
            coverage: Share of each cell that the exemplar covers, shape (h, w), not zero everywhere.

        Returns:
            Shape (E,); not a unit vector.
        """
        inside = (cells * coverage).sum(dim=(1, 2)) / coverage.sum()
        # an exemplar that covers its whole image has no surroundings
        around = (cells * (1.0 - coverage)).sum(dim=(1, 2)) / (1.0 - coverage).sum().clamp_min(1.0)
        direction = F.normalize(inside, dim=0)
        facts = torch.stack([inside.norm(), coverage.mean().sqrt()])
        vector: Tensor = direction + self.shift(torch.cat([direction, around, facts]))
        return vector
