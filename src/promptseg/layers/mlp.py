"""Small multi-layer perceptron."""

import torch.nn.functional as F
from torch import Tensor, nn


class Mlp(nn.Module):
    """Linear layers with ReLU between them.

    Args:
        in_features: Width of the input.
        hidden_features: Width between the layers.
        out_features: Width of the output.
        num_layers: Number of linear layers, at least 2.

    Source:
        SamFeedForward of transformers 5.23 (Apache-2.0); the same parameter names, so SAM's heads load into it.
    """

    def __init__(self, in_features: int, hidden_features: int, out_features: int, *, num_layers: int = 3) -> None:
        super().__init__()
        self.proj_in = nn.Linear(in_features, hidden_features)
        self.layers = nn.ModuleList(nn.Linear(hidden_features, hidden_features) for _ in range(num_layers - 2))
        self.proj_out = nn.Linear(hidden_features, out_features)

    def forward(self, x: Tensor) -> Tensor:
        """Map x, shape (..., in_features), to shape (..., out_features)."""
        x = F.relu(self.proj_in(x))
        for layer in self.layers:
            x = F.relu(layer(x))
        return self.proj_out(x)
