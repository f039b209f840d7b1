"""An example, a region of another image, as a vector that takes a text's place.

Shapes: E embedding, h w cells.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from promptseg.layers.mlp import Mlp


class ExemplarHead(nn.Module):
    """Read what a region of an image shows, in the common space of pixels and texts.

    It starts from the mean of the region's cells; what it learns is the way from what things look like to where a text
    that names them would lie, given what surrounds them. Texts and examples can then be mixed, for both are vectors
    that the same cells are compared with.

    Args:
        embedding_dim: Width of the common space.
        hidden_dim: Inner width.
    """

    def __init__(self, embedding_dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.shift = Mlp(2 * embedding_dim + 2, hidden_dim, embedding_dim, num_layers=2)
        nn.init.zeros_(self.shift.proj_out.weight)
        nn.init.zeros_(self.shift.proj_out.bias)

    def forward(self, cells: Tensor, coverage: Tensor) -> Tensor:
        """Embed an example.

        Args:
            cells: Unit vectors of the example's image, shape (E, h, w).
            coverage: Share of each cell that is meant, shape (h, w), not zero everywhere.

        Returns:
            Shape (E,); not a unit vector.
        """
        inside = (cells * coverage).sum(dim=(1, 2)) / coverage.sum()
        # where everything is meant, nothing surrounds it
        around = (cells * (1.0 - coverage)).sum(dim=(1, 2)) / (1.0 - coverage).sum().clamp_min(1.0)
        direction = F.normalize(inside, dim=0)
        facts = torch.stack([inside.norm(), coverage.mean().sqrt()])
        vector: Tensor = direction + self.shift(torch.cat([direction, around, facts]))
        return vector
