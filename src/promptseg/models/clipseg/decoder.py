"""Decoder of CLIPSeg: it computes a mask from the states of a frozen transformer and one conditional vector.

Paper: Lüddecke and Ecker 2022, arXiv:2112.10003; code: github.com/timojl/clipseg @ 77c4e2d, models/clipseg.py (MIT).
The parameters have the same names as in that code, so its files load without changes.

Shapes: B images, N conditional vectors, T = 1 + h * w tokens, C channels of the tower, D width, P patch.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from promptseg.models.clipseg.config import Block, DecoderHead


class ClipSegDecoder(nn.Module):
    """Add up the states, deepest first, with a block after each; the vector scales and shifts one of the sums.

    Args:
        token_dim: Channels of the tower's states.
        condition_dim: Channels of the conditional vector.
        num_states: Number of input states, and of blocks.
        patch: Side of a cell, pixels.
        dim: Width of the blocks.
        block: "attention": a transformer block with the norm after each part; "mlp": two linear layers, as in the
            paper's baseline CLIP-Deconv.
        num_heads: Attention heads.
        mlp_dim: Inner width of the feed-forward part.
        dropout: Dropout rate in training.
        film_block: Index of the block whose input the conditional vector scales and shifts.
        head: "simple", "refined" or "linear", see `ClipSegConfig`.
    """

    def __init__(
        self,
        *,
        token_dim: int,
        condition_dim: int,
        num_states: int,
        patch: int,
        dim: int,
        block: Block,
        num_heads: int,
        mlp_dim: int,
        dropout: float,
        film_block: int,
        head: DecoderHead,
    ) -> None:
        super().__init__()
        self.film_block = film_block
        self.film_mul = nn.Linear(condition_dim, dim)
        self.film_add = nn.Linear(condition_dim, dim)
        self.reduces = nn.ModuleList(nn.Linear(token_dim, dim) for _ in range(num_states))
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(dim, num_heads, mlp_dim, dropout, batch_first=True)
            if block == "attention"
            else nn.Sequential(nn.Linear(dim, mlp_dim), nn.ReLU(), nn.Linear(mlp_dim, dim))
            for _ in range(num_states)
        )
        self.trans_conv = _build_head(head, dim, patch)

    def forward(self, states: Sequence[Tensor], condition: Tensor, grid_hw: tuple[int, int]) -> Tensor:
        """Decode N masks.

        Args:
            states: States of the tower's blocks, shallowest first, each of shape (B, T, C); B is N, or 1 for one image
                with N vectors, whose image part is then computed only once.
            condition: Conditional vectors, shape (N, condition_dim).
            grid_hw: Rows and columns of cells.

        Returns:
            Logits, shape (N, H, W). A linear head gives one value per cell, a simple head P x P, and a refined head
            (P // 4)**2 on a side, which is P for a patch of 16.
        """
        tokens: Tensor | None = None
        for index, (state, reduce, block) in enumerate(zip(reversed(states), self.reduces, self.blocks, strict=True)):
            tokens = reduce(state) if tokens is None else reduce(state) + tokens
            if index == self.film_block:
                tokens = self.film_mul(condition)[:, None] * tokens + self.film_add(condition)[:, None]
            tokens = block(tokens)
        assert tokens is not None  # the config has at least one layer
        cells = tokens[:, 1:].transpose(1, 2).unflatten(2, grid_hw)
        logits: Tensor = self.trans_conv(cells)[:, 0]
        return logits


def _build_head(head: DecoderHead, dim: int, patch: int) -> nn.Module:
    match head:
        case "linear":
            return nn.Conv2d(dim, 1, 1)
        case "simple":
            return nn.ConvTranspose2d(dim, 1, patch, stride=patch)
        case "refined":
            return nn.Sequential(
                nn.Conv2d(dim, dim, 3, padding=1),
                nn.ReLU(),
                nn.ConvTranspose2d(dim, dim // 2, patch // 4, stride=patch // 4),
                nn.ReLU(),
                nn.ConvTranspose2d(dim // 2, 1, patch // 4, stride=patch // 4),
            )
