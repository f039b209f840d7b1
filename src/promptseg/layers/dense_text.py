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
    """

    vocabulary: Tensor

    def __init__(
        self, *, pixel_dim: int, text_dim: int, embedding_dim: int, hidden_dim: int, num_vocabulary: int, near: float
    ) -> None:
        super().__init__()
        self.pixel_projection = Pointwise(pixel_dim, embedding_dim)
        self.text_adapter = Mlp(text_dim, hidden_dim, embedding_dim, num_layers=2)
        self.text_shortcut = nn.Linear(text_dim, embedding_dim, bias=False)
        # exp(3) = 20; the bias lets every text start as rare as it is on a random cell
        self.log_scale = nn.Parameter(torch.tensor(3.0))
        self.bias = nn.Parameter(torch.tensor(-8.0))
        # how much the similarity and the competition say in the mask
        self.mask_weights = nn.Parameter(torch.tensor([1.0, 0.0]))
        self.evidence = Mlp(NUM_SUMMARIES, 32, 2, num_layers=2)
        self.near = near
        self.register_buffer("vocabulary", torch.zeros(num_vocabulary, text_dim))

    def embed_pixels(self, maps: Tensor) -> Tensor:
        """Embed the cells of maps, shape (B, C, h, w), as unit vectors, shape (B, E, h, w)."""
        return F.normalize(self.pixel_projection(maps).float(), dim=1)

    def embed_texts(self, pooled: Tensor) -> Tensor:
        """Embed the text tower's pooled vectors, shape (N, text_dim), as unit vectors, shape (N, E)."""
        return F.normalize((self.text_adapter(pooled) + self.text_shortcut(pooled)).float(), dim=-1)

    def find_competitors(self, pooled: Tensor) -> Tensor:
        """Say which names compete with which texts, shape (N, V), bool; pooled vectors have shape (N, text_dim)."""
        return pooled @ self.vocabulary.T < self.near

    def similarity(self, pixels: Tensor, texts: Tensor) -> Tensor:
        """Compare every cell of one picture with texts.

        Args:
            pixels: Unit vectors of one picture, shape (E, h, w).
            texts: Unit vectors, shape (N, E).

        Returns:
            Logits exp(log_scale) * cosine + bias, shape (N, h, w).
        """
        return self.log_scale.exp() * torch.einsum("ne,ehw->nhw", texts, pixels) + self.bias

    def competition(self, pixels: Tensor, similarity: Tensor, competitors: Tensor) -> Tensor:
        """Let the vocabulary compete for every cell of one picture.

        The V maps of the vocabulary are never held at once: memory is V times a chunk of cells, whatever N is.

        Args:
            pixels: Unit vectors of one picture, shape (E, h, w).
            similarity: Logits s_t of the texts on that picture, shape (N, h, w).
            competitors: True where a name competes with a text, shape (N, V), bool.

        Returns:
            log(exp(s_t) / (exp(s_t) + sum over competitors of exp(s_v))), shape (N, h, w); 0 without competitors.
        """
        if not competitors.shape[1]:
            return torch.zeros_like(similarity)
        names = self.log_scale.exp() * self.embed_texts(self.vocabulary)
        weights = competitors.T.to(names.dtype)
        rivals = []
        for cells in pixels.flatten(1).split(PIXEL_CHUNK, dim=1):
            logits = cells.T @ names.T + self.bias
            best = logits.detach().amax(dim=1, keepdim=True)
            # A text whose competitors all lie far below a near name gets a floor here instead of log(0): it has won.
            rivals.append(best + ((logits - best).exp() @ weights).clamp_min(1e-30).log())
        strongest = torch.cat(rivals).T.unflatten(1, similarity.shape[1:])
        return -F.softplus(strongest - similarity)

    def mask_logits(self, similarity: Tensor, competition: Tensor) -> Tensor:
        """Weigh both maps, each of shape (N, h, w), into mask logits of that shape."""
        return self.mask_weights[0] * similarity + self.mask_weights[1] * competition

    def judge(self, similarity: Tensor, competition: Tensor) -> tuple[Tensor, Tensor]:
        """Read presence and mask quality off the two maps.

        Args:
            similarity: Shape (N, h, w).
            competition: Shape (N, h, w).

        Returns:
            Presence logits and predicted IoU, each of shape (N,).
        """
        summaries = torch.cat([_summarise(similarity), _summarise(competition)], dim=1)
        presence_logit, iou = self.evidence(summaries).unbind(dim=1)
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
        return self.conv3(F.gelu(self.conv2(F.gelu(self.conv1(maps)))))


def _summarise(maps: Tensor) -> Tensor:
    """Give maximum, mean of the highest 64th part, and mean of maps, shape (N, h, w), as shape (N, 3)."""
    cells = maps.flatten(1)
    highest = cells.topk(max(1, cells.shape[1] // 64), dim=1).values
    return torch.stack([highest[:, 0], highest.mean(dim=1), cells.mean(dim=1)], dim=1)
