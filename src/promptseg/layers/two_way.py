"""SAM's two-way transformer: prompt tokens attend to image cells and vice versa.

Paper: Kirillov et al. 2023, arXiv:2304.02643; parameter names of SamTwoWayTransformer in transformers 5.23, Apache-2.0.
Differs: texts may be padded, so every attention over tokens takes a mask; attention uses PyTorch's fused kernel.

Shapes: N queries, T tokens, S image cells, D width.
"""

import torch.nn.functional as F
from torch import Tensor, nn

BLOCK_NORM_EPS = 1e-6


class Attention(nn.Module):
    """Multi-head attention whose inner width may be smaller than that of the tokens.

    Args:
        dim: Width of the tokens.
        num_heads: Number of heads; divides dim // downsample_rate.
        downsample_rate: Ratio of dim to the inner width.

    Raises:
        ValueError: `num_heads` does not divide the inner width.
    """

    def __init__(self, dim: int, num_heads: int, *, downsample_rate: int = 1) -> None:
        super().__init__()
        inner_dim = dim // downsample_rate
        if inner_dim % num_heads:
            raise ValueError(f"num_heads must divide the inner width {inner_dim}, got {num_heads}")
        self.num_heads = num_heads
        self.q_proj = nn.Linear(dim, inner_dim)
        self.k_proj = nn.Linear(dim, inner_dim)
        self.v_proj = nn.Linear(dim, inner_dim)
        self.out_proj = nn.Linear(inner_dim, dim)

    def forward(self, query: Tensor, key: Tensor, value: Tensor, key_mask: Tensor | None = None) -> Tensor:
        """Compute the attention of each query.

        Args:
            query: Shape (N, Tq, D).
            key: Shape (N, Tk, D).
            value: Shape (N, Tk, D).
            key_mask: True for keys that may be attended to, bool, shape (N, Tk), or (N, Tq, Tk) where it differs
                between queries. None: all keys.

        Returns:
            Shape (N, Tq, D).
        """
        q, k, v = (
            projection(x).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
            for projection, x in ((self.q_proj, query), (self.k_proj, key), (self.v_proj, value))
        )
        mask = key_mask if key_mask is None else (key_mask[:, None] if key_mask.ndim == 2 else key_mask)[:, None]
        return self.out_proj(F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).flatten(2))


class TokenMlp(nn.Module):
    """The feed-forward part of a block."""

    def __init__(self, dim: int, mlp_dim: int) -> None:
        super().__init__()
        self.lin1 = nn.Linear(dim, mlp_dim)
        self.lin2 = nn.Linear(mlp_dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.lin2(F.relu(self.lin1(x)))


class TwoWayBlock(nn.Module):
    """Self-attention of tokens, attention of tokens to cells, feed-forward, attention of cells to tokens; norms follow.

    Args:
        dim: Width of tokens and image cells.
        num_heads: Attention heads.
        mlp_dim: Inner width of the feed-forward part.
        is_first: In the first block, the tokens equal their position codes, which are then not added again.
    """

    def __init__(self, dim: int, num_heads: int, mlp_dim: int, *, is_first: bool) -> None:
        super().__init__()
        self.self_attn = Attention(dim, num_heads)
        self.layer_norm1 = nn.LayerNorm(dim, eps=BLOCK_NORM_EPS)
        self.cross_attn_token_to_image = Attention(dim, num_heads, downsample_rate=2)
        self.layer_norm2 = nn.LayerNorm(dim, eps=BLOCK_NORM_EPS)
        self.mlp = TokenMlp(dim, mlp_dim)
        self.layer_norm3 = nn.LayerNorm(dim, eps=BLOCK_NORM_EPS)
        self.layer_norm4 = nn.LayerNorm(dim, eps=BLOCK_NORM_EPS)
        self.cross_attn_image_to_token = Attention(dim, num_heads, downsample_rate=2)
        self.is_first = is_first

    def forward(
        self, tokens: Tensor, cells: Tensor, token_codes: Tensor, cell_codes: Tensor, token_mask: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Update tokens, shape (N, T, D), and cells, shape (N, S, D); the codes are their positions."""
        if self.is_first:
            tokens = self.self_attn(tokens, tokens, tokens, token_mask)
        else:
            placed = tokens + token_codes
            tokens = tokens + self.self_attn(placed, placed, tokens, token_mask)
        tokens = self.layer_norm1(tokens)
        placed_cells = cells + cell_codes
        tokens = tokens + self.cross_attn_token_to_image(tokens + token_codes, placed_cells, cells)
        tokens = self.layer_norm2(tokens)
        tokens = self.layer_norm3(tokens + self.mlp(tokens))
        read = self.cross_attn_image_to_token(placed_cells, tokens + token_codes, tokens, token_mask)
        return tokens, self.layer_norm4(cells + read)


class TwoWayTransformer(nn.Module):
    """Two-way blocks, then a final attention of the tokens to the cells.

    Args:
        dim: Width of tokens and image cells.
        num_heads: Attention heads.
        mlp_dim: Inner width of the feed-forward parts.
        depth: Number of blocks, at least 1.
    """

    def __init__(self, dim: int, num_heads: int, mlp_dim: int, depth: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(TwoWayBlock(dim, num_heads, mlp_dim, is_first=i == 0) for i in range(depth))
        self.final_attn_token_to_image = Attention(dim, num_heads, downsample_rate=2)
        self.layer_norm_final_attn = nn.LayerNorm(dim)

    def forward(
        self, tokens: Tensor, cells: Tensor, cell_codes: Tensor, token_mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Update tokens and image cells.

        Args:
            tokens: Prompt and output tokens, shape (N, T, D). They are also their own position codes.
            cells: Image cells, shape (N, S, D).
            cell_codes: Position codes of the cells, shape (1 or N, S, D).
            token_mask: True for real tokens, bool, shape (N, T). None: all are real.

        Returns:
            Tokens, shape (N, T, D), and cells, shape (N, S, D). Masked tokens are meaningless.
        """
        token_codes = tokens
        for block in self.layers:
            tokens, cells = block(tokens, cells, token_codes, cell_codes, token_mask)
        read = self.final_attn_token_to_image(tokens + token_codes, cells + cell_codes, cells)
        return self.layer_norm_final_attn(tokens + read), cells
