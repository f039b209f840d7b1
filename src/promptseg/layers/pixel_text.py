"""Compare one embedding per pixel with texts, which gives a mask for each of any number of texts.

Paper: Li et al. 2022, arXiv:2201.03546 (LSeg) for pixel-text similarity.

Shapes: B images, N texts, E embedding, C channels, h w cells, S = h * w.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from promptseg.layers.mlp import Mlp
from promptseg.layers.pointwise import Pointwise

NUM_SUMMARIES = 3


class PixelTextHead(nn.Module):
    """Embed pixels and texts in a joint space and compare them.

    Args:
        pixel_dim: Channels of the map that pixels are embedded from.
        text_dim: Dimension of the text tower's pooled vectors.
        embedding_dim: Dimension of the joint space.
        hidden_dim: Inner width of the text adapter.
        peak_margin: Maximum distance, in logits, of a mask's pixels below the peak of its map, for maps with a low
            peak: an unfamiliar name has a low similarity to all cells, but the highest to the correct ones. None: the
            threshold is the same for all texts.
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
        # exp(3) = 20; the bias starts with a low probability, because a text fits few cells
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
        """Convert similarity, shape (N, h, w), to mask logits of the same shape."""
        logits = similarity + self.mask_shift
        if self.peak_margin is None:
            return logits
        lowered = (_highest(logits.flatten(1)).mean(dim=1) - self.peak_margin).clamp(max=0.0)
        return logits - lowered[:, None, None]

    def presence(self, similarity: Tensor) -> tuple[Tensor, Tensor]:
        """Predict presence and mask quality from the similarity, shape (N, h, w).

        Returns:
            Presence logits and predicted IoU, each of shape (N,).
        """
        presence_logit, iou = self.evidence(summarize(similarity)).unbind(dim=1)
        return presence_logit, iou


def summarize(similarity: Tensor) -> Tensor:
    """Compute maximum, mean of the highest 64th, and mean of each of N maps, shape (N, h, w): shape (N, 3)."""
    cells = similarity.flatten(1)
    highest = _highest(cells)
    return torch.stack([highest[:, 0], highest.mean(dim=1), cells.mean(dim=1)], dim=1)


def _highest(cells: Tensor) -> Tensor:
    """Return the highest 64th of the cells, shape (N, S), in descending order."""
    return cells.topk(max(1, cells.shape[1] // 64), dim=1).values
