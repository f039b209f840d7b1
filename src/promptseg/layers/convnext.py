"""ConvNeXt blocks: wide context for each cell at low cost.

Paper: Liu et al. 2022, arXiv:2201.03545. 1x1 convolutions are linear layers on channels-last maps, which compute the
same result several times as fast on a CPU.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from promptseg.layers.norm import ChannelNorm
from promptseg.layers.pointwise import depthwise


class ContextBlock(nn.Module):
    """A ConvNeXt block: 7x7 depthwise convolution, then an inverted bottleneck, with a shortcut.

    Args:
        dim: Channels of input and output.
        expansion: Inner width of the bottleneck as a multiple of `dim`.
        layer_scale: Initial value of the learned factor on the block's residual.
        norm_eps: Epsilon of the norm.
    """

    def __init__(self, dim: int, *, expansion: int = 3, layer_scale: float = 0.1, norm_eps: float = 1e-5) -> None:
        super().__init__()
        self.look = nn.Conv2d(dim, dim, 7, padding=3, groups=dim)
        self.norm = nn.LayerNorm(dim, eps=norm_eps)
        self.widen = nn.Linear(dim, expansion * dim)
        self.narrow = nn.Linear(expansion * dim, dim)
        self.layer_scale = nn.Parameter(torch.full((dim,), layer_scale))

    def forward(self, x: Tensor) -> Tensor:
        """Map x, shape (B, dim, h, w), to the same shape."""
        around = depthwise(x, self.look.weight, self.look.bias, padding=3)
        cells: Tensor = self.norm(around.permute(0, 2, 3, 1))
        cells = self.narrow(F.gelu(self.widen(cells))) * self.layer_scale
        return x + cells.permute(0, 3, 1, 2)


class ContextStage(nn.Sequential):
    """Layer norm, then ConvNeXt blocks.

    Args:
        dim: Channels of input and output.
        num_blocks: Number of blocks.
    """

    def __init__(self, dim: int, *, num_blocks: int) -> None:
        super().__init__(ChannelNorm(dim), *(ContextBlock(dim) for _ in range(num_blocks)))
