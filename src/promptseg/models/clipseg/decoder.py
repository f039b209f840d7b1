"""CLIPSeg's decoder: states of a frozen transformer and one conditional vector become a mask.

Paper: Lüddecke and Ecker 2022, arXiv:2112.10003; code: github.com/timojl/clipseg @ 77c4e2d, models/clipseg.py (MIT).
Parameters have the names of that code, so its files load as they are.

Shapes: B images, N conditional vectors, T = 1 + h * w tokens, C channels of the tower, D width, P patch.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from promptseg.models.clipseg.config import Block, Head


class ClipSegDecoder(nn.Module):
    """Add up the states, deepest first, with a block after each; one of the sums is scaled and shifted by the vector.

    Args:
        token_dim: Channels of the tower's states.
        condition_dim: Channels of the conditional vector.
        num_states: States that come in; as many blocks.
        patch: Pixels for each cell, on a side.
        dim: Width.
        block: "attention": a transformer's block with the norm after each part; "mlp": two linear layers, as in the
            paper's baseline CLIP-Deconv.
        num_heads: Attention heads.
        mlp_dim: Inner width of the feed-forward part.
        dropout: In training.
        film_block: Block whose input the conditional vector changes.
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
        head: Head,
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
            states: Of the tower's blocks, the shallowest first, each (B, T, C); B is N, or 1 for one image with N
                vectors, which then costs the image's part only once.
            condition: Shape (N, condition_dim).
            grid_hw: Cells of the image.

        Returns:
            Logits, shape (N, H, W); a linear head gives one a cell, the others P for each on a side (a refined head
            (P // 4)**2, which is P for a patch of 16).
        """
        tokens: Tensor | None = None
        for index, (state, reduce, block) in enumerate(zip(reversed(states), self.reduces, self.blocks, strict=True)):
            tokens = reduce(state) if tokens is None else reduce(state) + tokens
            if index == self.film_block:
                tokens = self.film_mul(condition)[:, None] * tokens + self.film_add(condition)[:, None]
            tokens = block(tokens)
        assert tokens is not None  # the config has a layer
        cells = tokens[:, 1:].transpose(1, 2).unflatten(2, grid_hw)
        logits: Tensor = self.trans_conv(cells)[:, 0]
        return logits


def _build_head(head: Head, dim: int, patch: int) -> nn.Module:
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
