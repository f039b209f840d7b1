"""One embedding for each pixel, compared with texts: a mask for any number of texts from one map.

Papers: Li et al. 2022, arXiv:2201.03546 (LSeg) for pixel-text similarity.
Vocabulary competition: a text does not only have to fit a pixel, it has to fit better than the names of a vocabulary.

Shapes: B pictures, N texts, V vocabulary names, E embedding, C channels, h w cells, S = h * w.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from promptseg.layers.mlp import Mlp
from promptseg.layers.pointwise import Pointwise

PIXEL_CHUNK = 4096
NUM_NEAR = 32
NUM_SUMMARIES = 6


class DenseTextHead(nn.Module):
    """Pixels and texts in one space.

    Args:
        pixel_dim: Channels of the map that pixels are embedded from.
        text_dim: Channels of the text tower's pooled vectors.
        embedding_dim: Width of the common space.
        hidden_dim: Inner width of the text adapter.
        num_vocabulary: Names that compete with every text; 0: none do.
        near: Cosine similarity in the text tower's space from which on a name means the same as a text, and does not
            compete with it.
        peak_margin: How far below its own peak a text's mask may reach where that peak is low, in logits: a name far
            from the trained ones is hardly similar to any cell, yet most similar to the right ones. None: the threshold
            is the same for all texts.
    """

    vocabulary: Tensor
    names: Tensor

    def __init__(
        self,
        *,
        pixel_dim: int,
        text_dim: int,
        embedding_dim: int,
        hidden_dim: int,
        num_vocabulary: int,
        near: float,
        peak_margin: float | None = None,
    ) -> None:
        super().__init__()
        self.pixel_projection = Pointwise(pixel_dim, embedding_dim)
        self.text_adapter = Mlp(text_dim, hidden_dim, embedding_dim, num_layers=2)
        self.text_shortcut = nn.Linear(text_dim, embedding_dim, bias=False)
        # exp(3) = 20; the bias lets every text start as rare as it is on a random cell
        self.log_scale = nn.Parameter(torch.tensor(3.0))
        self.bias = nn.Parameter(torch.tensor(-8.0))
        # how much the similarity and the competition say in the mask, and a shift
        self.mask_weights = nn.Parameter(torch.tensor([1.0, 0.0, 0.0]))
        self.evidence = Mlp(NUM_SUMMARIES, 32, 2, num_layers=2)
        self.near = near
        self.peak_margin = peak_margin
        # of each name what the text tower said, and where it lies in the common space
        self.register_buffer("vocabulary", torch.zeros(num_vocabulary, text_dim))
        self.register_buffer("names", torch.zeros(num_vocabulary, embedding_dim))

    def embed_pixels(self, maps: Tensor) -> Tensor:
        """Embed the cells of maps, shape (B, C, h, w), as unit vectors, shape (B, E, h, w)."""
        return F.normalize(self.pixel_projection(maps).float(), dim=1)

    def embed_texts(self, pooled: Tensor) -> Tensor:
        """Embed the text tower's pooled vectors, shape (N, text_dim), as unit vectors, shape (N, E)."""
        return F.normalize((self.text_adapter(pooled) + self.text_shortcut(pooled)).float(), dim=-1)

    def set_vocabulary(self, pooled: Tensor) -> None:
        """Take over the names that compete, as the text tower's pooled vectors, shape (V, text_dim)."""
        self.vocabulary.copy_(pooled)
        self.names.copy_(self.embed_texts(pooled))

    def find_near(self, pooled: Tensor) -> tuple[Tensor, Tensor]:
        """Find the names that say the same as texts, given as the tower's pooled vectors, shape (N, text_dim).

        Returns:
            The nearest names as unit vectors, shape (N, K, E), K at most `NUM_NEAR`, and True where a name is near
            enough to leave its text alone, shape (N, K).
        """
        cosines = pooled @ self.vocabulary.T
        nearest, index = cosines.topk(min(NUM_NEAR, cosines.shape[1]), dim=1)
        return self.names[index], nearest >= self.near

    def similarity(self, pixels: Tensor, texts: Tensor) -> Tensor:
        """Compare every cell of one picture with texts.

        Args:
            pixels: Unit vectors of one picture, shape (E, h, w).
            texts: Unit vectors, shape (N, E).

        Returns:
            Logits exp(log_scale) * cosine + bias, shape (N, h, w).
        """
        return self.log_scale.exp() * torch.einsum("ne,ehw->nhw", texts, pixels) + self.bias

    def rivalry(self, pixels: Tensor) -> Tensor:
        """Sum up what every name of the vocabulary says at each cell, once for all texts.

        The V maps are never held at once: memory is V times a chunk of cells.

        Args:
            pixels: Unit vectors, shape (B, E, h, w).

        Returns:
            log(sum over names of exp(s_v)), shape (B, h, w).
        """
        sums = []
        for cells in torch.split(pixels.flatten(2), PIXEL_CHUNK, dim=2):
            logits = self.log_scale.exp() * (cells.transpose(1, 2) @ self.names.T) + self.bias
            sums.append(torch.logsumexp(logits, dim=2))
        return torch.unflatten(torch.cat(sums, dim=1), 1, pixels.shape[2:])

    def competition(
        self, pixels: Tensor, similarity: Tensor, rivalry: Tensor, near_names: Tensor, near_mask: Tensor
    ) -> Tensor:
        """Let the vocabulary compete for every cell of one picture.

        Args:
            pixels: Unit vectors of one picture, shape (E, h, w).
            similarity: Logits s_t of the texts on that picture, shape (N, h, w).
            rivalry: Of that picture, shape (h, w).
            near_names: Names that may say the same as a text, unit vectors, shape (N, K, E).
            near_mask: True where they do, shape (N, K), bool.

        Returns:
            log(exp(s_t) / (exp(s_t) + sum over the other names of exp(s_v))), shape (N, h, w).
        """
        logits = self.log_scale.exp() * torch.einsum("nke,ehw->nkhw", near_names, pixels) + self.bias
        friends = ((logits - rivalry).exp() * near_mask[:, :, None, None]).sum(dim=1)
        # where near names say it all, a floor instead of log(0): the text has won
        rivals = rivalry + (1.0 - friends).clamp_min(1e-6).log()
        return -F.softplus(rivals - similarity)

    def mask_logits(self, similarity: Tensor, competition: Tensor) -> Tensor:
        """Weigh both maps, each of shape (N, h, w), into mask logits of that shape."""
        logits = self.mask_weights[0] * similarity + self.mask_weights[1] * competition + self.mask_weights[2]
        if self.peak_margin is None:
            return logits
        lowered = (_highest(logits.flatten(1)).mean(dim=1) - self.peak_margin).clamp(max=0.0)
        return logits - lowered[:, None, None]

    def judge(self, similarity: Tensor, competition: Tensor) -> tuple[Tensor, Tensor]:
        """Read presence and mask quality off the two maps.

        Args:
            similarity: Shape (N, h, w).
            competition: Shape (N, h, w).

        Returns:
            Presence logits and predicted IoU, each of shape (N,).
        """
        presence_logit, iou = self.evidence(summarise(similarity, competition)).unbind(dim=1)
        return presence_logit, iou


class PriorEmbedding(nn.Module):
    """Turn the two dense maps of a query into image cells to add, as SAM does with a mask prompt.

    The last convolution starts at zero, so that a decoder starts from the picture alone.

    Args:
        dim: Channels of the image cells.

    Source:
        SamMaskEmbedding of transformers 5.23 (Apache-2.0). Differs: two channels in, zero start, any input size.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(2, 4, kernel_size=2, stride=2)
        self.conv2 = nn.Conv2d(4, 16, kernel_size=2, stride=2)
        self.conv3 = nn.Conv2d(16, dim, kernel_size=1)
        nn.init.zeros_(self.conv3.weight)
        assert self.conv3.bias is not None
        nn.init.zeros_(self.conv3.bias)

    def forward(self, similarity: Tensor, competition: Tensor, size_hw: tuple[int, int]) -> Tensor:
        """Embed maps of shape (N, h, w) as cells of shape (N, dim, *size_hw)."""
        maps = torch.stack([similarity, competition], dim=1)
        height, width = size_hw
        maps = F.interpolate(maps, size=(4 * height, 4 * width), mode="bilinear", align_corners=False)
        cells: Tensor = self.conv3(F.gelu(self.conv2(F.gelu(self.conv1(maps)))))
        return cells


def summarise(similarity: Tensor, competition: Tensor) -> Tensor:
    """Give maximum, mean of the highest 64th part, and mean of both maps, each of shape (N, h, w), as shape (N, 6)."""
    parts = []
    for maps in (similarity, competition):
        cells = maps.flatten(1)
        highest = _highest(cells)
        parts += [highest[:, 0], highest.mean(dim=1), cells.mean(dim=1)]
    return torch.stack(parts, dim=1)


def _highest(cells: Tensor) -> Tensor:
    """Give the highest 64th part of cells, shape (N, S), in falling order."""
    return cells.topk(max(1, cells.shape[1] // 64), dim=1).values
