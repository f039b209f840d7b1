"""Mask2Former's masked-attention decoder for prompts that do not see each other.

Each layer lets the tokens of a prompt read the image where the prompt's masks are so far, then each other. A mask is
the product of a token and the map of mask features; a head estimates how good it is.

Papers: Cheng et al. 2022, arXiv:2112.01527; Wang et al. 2024, arXiv:2402.08960. Differs from Mask2Former: tokens attend
only to tokens of their own prompt, a self-attention comes first, every granularity has heads of its own, and all masks
of a prompt are read where any of them is. Masks of other than the last layer are computed only at the size at which
they are used: resizing commutes with the product.

Shapes: B images, N prompts, T tokens of a prompt, K masks of a prompt, S cells of a map, D width.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from promptseg.layers.mlp import Mlp
from promptseg.layers.pixel_decoder import NUM_LEVELS, PixelFeatures
from promptseg.layers.position import PositionKind, build_positions
from promptseg.layers.prompt_queries import MaskQueries
from promptseg.layers.two_way import Attention, TokenMlp


@dataclass(frozen=True)
class MaskVectors:
    """The masks of one layer as vectors: their product with `DecodedMasks.features` gives logits.

    Attributes:
        vectors: Shape (B, N, K, D).
        score_logits: Estimate of each mask's quality, as logits, shape (B, N, K).
    """

    vectors: Tensor
    score_logits: Tensor


@dataclass(frozen=True)
class DecodedMasks:
    """The masks of N prompts on each of B images.

    Attributes:
        layers: Before the first layer and after each; the last one is the answer.
        features: The map of mask features, shape (B, D, h, w).
    """

    layers: tuple[MaskVectors, ...]
    features: Tensor

    def mask_logits(self, size_hw: tuple[int, int] | None = None) -> Tensor:
        """Compute the mask logits of the last layer.

        Args:
            size_hw: Size of the masks; None is that of the features.

        Returns:
            Shape (B, N, K, h, w); above 0 means object.
        """
        return multiply(self.layers[-1].vectors, resize(self.features, size_hw))


class MaskedLayer(nn.Module):
    """Masked attention to the image, attention of tokens to each other, feed-forward; a norm follows each.

    Args:
        dim: Width.
        num_heads: Attention heads.
        mlp_dim: Inner width of the feed-forward part.
    """

    def __init__(self, dim: int, *, num_heads: int, mlp_dim: int) -> None:
        super().__init__()
        self.image_attention = Attention(dim, num_heads)
        self.image_norm = nn.LayerNorm(dim)
        self.token_attention = Attention(dim, num_heads)
        self.token_norm = nn.LayerNorm(dim)
        self.mlp = TokenMlp(dim, mlp_dim)
        self.mlp_norm = nn.LayerNorm(dim)

    def forward(self, tokens: Tensor, codes: Tensor, cells: Tensor, cell_codes: Tensor, visible: Tensor) -> Tensor:
        """Update the tokens of N prompts on each of B images.

        Args:
            tokens: Shape (B, N, T, D).
            codes: Added to tokens where they ask or are asked, shape (B, N, T, D).
            cells: One map, row by row, shape (B, S, D).
            cell_codes: Positions of its cells, shape (1, S, D).
            visible: Cells that the tokens of a prompt attend to, bool, shape (B, N, S); at least one for each prompt.

        Returns:
            Shape (B, N, T, D).
        """
        batch, num_prompts, num_tokens, _ = tokens.shape
        # one long row of tokens for each image, so that the image's keys are projected once, not for each prompt
        asked = (tokens + codes).flatten(1, 2)
        read = self.image_attention(asked, cells + cell_codes, cells, visible.repeat_interleave(num_tokens, dim=1))
        tokens = self.image_norm(tokens + read.unflatten(1, (num_prompts, num_tokens)))
        tokens, codes = tokens.flatten(0, 1), codes.flatten(0, 1)
        placed = tokens + codes
        tokens = self.token_norm(tokens + self.token_attention(placed, placed, tokens))
        tokens = self.mlp_norm(tokens + self.mlp(tokens))
        return tokens.unflatten(0, (batch, num_prompts))


class MaskedDecoder(nn.Module):
    """A first self-attention, masked layers that read the three maps in turn, and the heads.

    Args:
        dim: Width of tokens and maps.
        num_layers: Masked layers.
        num_heads: Attention heads.
        mlp_dim: Inner width of the layers' feed-forward parts.
        num_outputs: Kinds of mask, each with a mask head and a score head.
        positions: Kind of the position codes of the maps' cells.
    """

    def __init__(
        self,
        dim: int,
        *,
        num_layers: int,
        num_heads: int,
        mlp_dim: int,
        num_outputs: int,
        positions: PositionKind,
    ) -> None:
        super().__init__()
        self.positions = build_positions(positions, dim)
        self.level_codes = nn.Parameter(torch.randn(NUM_LEVELS, dim))
        self.first_attention = Attention(dim, num_heads)
        self.first_norm = nn.LayerNorm(dim)
        self.layers = nn.ModuleList(MaskedLayer(dim, num_heads=num_heads, mlp_dim=mlp_dim) for _ in range(num_layers))
        self.norm = nn.LayerNorm(dim)
        self.feature_projection = nn.Conv2d(dim, dim, 1)
        self.mask_heads = nn.ModuleList(Mlp(dim, dim, dim) for _ in range(num_outputs))
        self.score_heads = nn.ModuleList(Mlp(dim, dim, 1) for _ in range(num_outputs))

    def forward(self, image: PixelFeatures, queries: MaskQueries) -> DecodedMasks:
        """Decode the masks of prompts, which do not depend on each other."""
        features = self.feature_projection(image.mask_features)
        sizes_hw = [(one.shape[2], one.shape[3]) for one in image.maps]
        cells = [one.flatten(2).transpose(1, 2) + code for one, code in zip(image.maps, self.level_codes, strict=True)]
        cell_codes = [self.positions(size) for size in sizes_hw]
        # detached, as a mask of the attention has no gradient
        small_features = [resize(features.detach(), size) for size in sizes_hw]

        codes = queries.tokens
        tokens = codes.flatten(0, 1)
        tokens = self.first_norm(tokens + self.first_attention(tokens, tokens, tokens)).unflatten(0, codes.shape[:2])
        predicted = [self._predict(tokens, queries)]
        for index, layer in enumerate(self.layers):
            level = index % NUM_LEVELS
            visible = visible_cells(predicted[-1].vectors.detach(), small_features[level])
            tokens = layer(tokens, codes, cells[level], cell_codes[level], visible)
            predicted.append(self._predict(tokens, queries))
        return DecodedMasks(tuple(predicted), features)

    def _predict(self, tokens: Tensor, queries: MaskQueries) -> MaskVectors:
        first = queries.first_output
        outputs = self.norm(tokens[:, :, first : first + len(queries.heads)]).unbind(dim=2)
        read = list(zip(queries.heads, outputs, strict=True))
        return MaskVectors(
            torch.stack([self.mask_heads[head](output) for head, output in read], dim=2),
            torch.cat([self.score_heads[head](output) for head, output in read], dim=2),
        )


def visible_cells(vectors: Tensor, features: Tensor) -> Tensor:
    """Find the cells that lie in any mask of a prompt; all of them where none does.

    Args:
        vectors: Masks as vectors, shape (B, N, K, D).
        features: Shape (B, D, h, w).

    Returns:
        bool, shape (B, N, h * w).
    """
    inside = (multiply(vectors, features) >= 0).any(dim=2).flatten(2)
    return inside | ~inside.any(dim=-1, keepdim=True)


def multiply(vectors: Tensor, features: Tensor) -> Tensor:
    """Multiply vectors, shape (B, ..., D), with the cells of maps, shape (B, D, h, w): shape (B, ..., h, w)."""
    products = vectors.flatten(1, -2) @ features.flatten(2)
    return products.view(*vectors.shape[:-1], *features.shape[-2:])


def resize(features: Tensor, size_hw: Sequence[int] | None) -> Tensor:
    """Resize maps, shape (B, D, h, w), bilinearly; None: leave them as they are."""
    if size_hw is None or tuple(size_hw) == tuple(features.shape[-2:]):
        return features
    return F.interpolate(features, size=tuple(size_hw), mode="bilinear", align_corners=False)
