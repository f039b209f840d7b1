"""One embedding for each pixel, compared with texts: a mask for any number of texts from one map.

Paper: Li et al. 2022, arXiv:2201.03546 (LSeg) for pixel-text similarity.

Shapes: B images, N texts, E embedding, C channels, h w cells, S = h * w.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from promptseg.layers.mlp import Mlp
from promptseg.layers.pointwise import Pointwise

NUM_SUMMARIES = 3


class DenseTextHead(nn.Module):
    """Pixels and texts in one space.

    Args:
        pixel_dim: Channels of the map that pixels are embedded from.
        text_dim: Channels of the text tower's pooled vectors.
        embedding_dim: Width of the common space.
        hidden_dim: Inner width of the text adapter.
        peak_margin: How far below its own peak a text's mask may reach where that peak is low, in logits: a name far
            from the trained ones is hardly similar to any cell, yet most similar to the right ones. None: the threshold
            is the same for all texts.
    """

    def __init__(
        self,
        *,
        pixel_dim: int,
        text_dim: int,
        embedding_dim: int,
        hidden_dim: int,
        peak_margin: float | None = None,
    ) -> None:
        super().__init__()
        self.pixel_projection = Pointwise(pixel_dim, embedding_dim)
        self.text_adapter = Mlp(text_dim, hidden_dim, embedding_dim, num_layers=2)
        self.text_shortcut = nn.Linear(text_dim, embedding_dim, bias=False)
        # exp(3) = 20; the bias lets every text start as rare as it is on a random cell
        self.log_scale = nn.Parameter(torch.tensor(3.0))
        self.bias = nn.Parameter(torch.tensor(-8.0))
        self.mask_shift = nn.Parameter(torch.tensor(0.0))
        self.evidence = Mlp(NUM_SUMMARIES, 32, 2, num_layers=2)
        self.peak_margin = peak_margin

    def embed_pixels(self, maps: Tensor) -> Tensor:
        """Embed the cells of maps, shape (B, C, h, w), as unit vectors, shape (B, E, h, w)."""
        return F.normalize(self.pixel_projection(maps).float(), dim=1)

    def embed_texts(self, pooled: Tensor) -> Tensor:
        """Embed the text tower's pooled vectors, shape (N, text_dim), as unit vectors, shape (N, E)."""
        return F.normalize((self.text_adapter(pooled) + self.text_shortcut(pooled)).float(), dim=-1)

    def similarity(self, pixels: Tensor, texts: Tensor) -> Tensor:
        """Compare every cell of one image with texts.

        Args:
            pixels: Unit vectors of one image, shape (E, h, w).
            texts: Unit vectors, shape (N, E).

        Returns:
            Logits exp(log_scale) * cosine + bias, shape (N, h, w).
        """
        return self.log_scale.exp() * torch.einsum("ne,ehw->nhw", texts, pixels) + self.bias

    def mask_logits(self, similarity: Tensor) -> Tensor:
        """Turn similarity, shape (N, h, w), into mask logits of that shape."""
        logits = similarity + self.mask_shift
        if self.peak_margin is None:
            return logits
        lowered = (_highest(logits.flatten(1)).mean(dim=1) - self.peak_margin).clamp(max=0.0)
        return logits - lowered[:, None, None]

    def judge(self, similarity: Tensor) -> tuple[Tensor, Tensor]:
        """Read presence and mask quality off the similarity, shape (N, h, w).

        Returns:
            Presence logits and predicted IoU, each of shape (N,).
        """
        presence_logit, iou = self.evidence(summarize(similarity)).unbind(dim=1)
        return presence_logit, iou


class PriorEmbedding(nn.Module):
    """Turn the similarity of a query into image cells to add, as SAM does with a mask prompt.

    The last convolution starts at zero, so that a decoder starts from the image alone.

    Args:
        dim: Channels of the image cells.

    Source:
        SamMaskEmbedding of transformers 5.23 (Apache-2.0). Differs: no norms, zero start, any input size.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 4, kernel_size=2, stride=2)
        self.conv2 = nn.Conv2d(4, 16, kernel_size=2, stride=2)
        self.conv3 = nn.Conv2d(16, dim, kernel_size=1)
        nn.init.zeros_(self.conv3.weight)
        assert self.conv3.bias is not None
        nn.init.zeros_(self.conv3.bias)

    def forward(self, similarity: Tensor, size_hw: tuple[int, int]) -> Tensor:
        """Embed maps of shape (N, h, w) as cells of shape (N, dim, *size_hw)."""
        height, width = size_hw
        maps = F.interpolate(similarity[:, None], size=(4 * height, 4 * width), mode="bilinear", align_corners=False)
        cells: Tensor = self.conv3(F.gelu(self.conv2(F.gelu(self.conv1(maps)))))
        return cells


def summarize(similarity: Tensor) -> Tensor:
    """Give maximum, mean of the highest 64th part, and mean of maps, shape (N, h, w), as shape (N, 3)."""
    cells = similarity.flatten(1)
    highest = _highest(cells)
    return torch.stack([highest[:, 0], highest.mean(dim=1), cells.mean(dim=1)], dim=1)


def _highest(cells: Tensor) -> Tensor:
    """Give the highest 64th part of cells, shape (N, S), in falling order."""
    return cells.topk(max(1, cells.shape[1] // 64), dim=1).values
