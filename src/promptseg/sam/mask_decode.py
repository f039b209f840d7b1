"""SAM's mask decoder, spelled out for few tokens and many cells: half the arithmetic, the same masks.

Source:
    Kirillov et al. 2023, "Segment Anything", arXiv:2304.02643; the weights are in transformers' SamMaskDecoder
    (Apache-2.0).
    Differs: where all cells are projected and then multiplied with a few tokens, the tokens are projected instead, as
    (cells W) t = cells (W t). Maps keep their channels last, so that a transposed convolution is a matrix product. Only
    the masks that are returned are computed.

Shapes: N prompts, T tokens, C channels, S = h w cells of the embedding, K masks.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class MaskDecode(nn.Module):
    """A mask decoder whose choice of output is fixed, as a graph compiler needs it.

    Args:
        mask_decoder: transformers' SamMaskDecoder.
        levels: Three nested candidates instead of the single mask.
    """

    def __init__(self, mask_decoder: nn.Module, *, levels: bool) -> None:
        super().__init__()
        self.mask_decoder = mask_decoder
        self.chosen = slice(1, None) if levels else slice(0, 1)

    def forward(self, embedding: Tensor, position: Tensor, tokens: Tensor, dense: Tensor) -> tuple[Tensor, Tensor]:
        """Decode N prompts on one image.

        Args:
            embedding: (1, C, h, w).
            position: Position encoding of the embedding's cells, (1, C, h, w).
            tokens: (N, T, C).
            dense: What is added to every cell, (N or 1, C, h, w).

        Returns:
            Mask logits (N, K, 4h, 4w) and scores (N, K); K is 3 with levels, else 1.
        """
        decoder: Any = self.mask_decoder
        own = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight])
        tokens = torch.cat([own.expand(tokens.shape[0], -1, -1), tokens], dim=1)
        tokens, cells = _exchange(decoder.transformer, tokens, _to_cells(embedding + dense), _to_cells(position))
        heads = decoder.output_hypernetworks_mlps
        weights = [heads[index](tokens[:, 1 + index]) for index in range(len(heads))[self.chosen]]
        masks = _draw(decoder, cells, torch.stack(weights, dim=2), embedding.shape[2], embedding.shape[3])
        return masks, decoder.iou_prediction_head(tokens[:, 0])[:, self.chosen]


def _to_cells(maps: Tensor) -> Tensor:
    """Put the channels of maps, (N, C, h, w), last: (N, S, C)."""
    return maps.flatten(2).transpose(1, 2)


def _exchange(transformer: Any, tokens: Tensor, cells: Tensor, cell_codes: Tensor) -> tuple[Tensor, Tensor]:
    """Let tokens (N, T, C) and cells (N or 1, S, C) attend to each other; the first tokens are their position codes."""
    codes = tokens
    for layer in transformer.layers:
        if layer.skip_first_layer_pe:
            tokens = _attend_to_each_other(layer.self_attn, tokens, tokens)
        else:
            tokens = tokens + _attend_to_each_other(layer.self_attn, tokens + codes, tokens)
        tokens = layer.layer_norm1(tokens)
        placed = cells + cell_codes
        tokens = tokens + _read_cells(layer.cross_attn_token_to_image, tokens + codes, placed, cells)
        tokens = layer.layer_norm2(tokens)
        tokens = layer.layer_norm3(tokens + layer.mlp(tokens))
        read = _read_tokens(layer.cross_attn_image_to_token, placed, tokens + codes, tokens)
        cells = layer.layer_norm4(cells + read)
    read = _read_cells(transformer.final_attn_token_to_image, tokens + codes, cells + cell_codes, cells)
    return transformer.layer_norm_final_attn(tokens + read), cells


def _attend_to_each_other(attention: Any, placed: Tensor, tokens: Tensor) -> Tensor:
    read: Tensor = attention(query=placed[:, None], key=placed[:, None], value=tokens[:, None])[0][:, 0]
    return read


def _read_cells(attention: Any, tokens: Tensor, placed: Tensor, cells: Tensor) -> Tensor:
    """Let tokens (N, T, C) attend to cells (N or 1, S, C); `placed` are the cells with their position codes."""
    heads = attention.num_attention_heads
    queries = _split(attention.q_proj(tokens) * attention.scaling, heads)
    # the keys' bias is left out: it adds the same to all logits of a query
    sought = (queries @ _by_head(attention.k_proj.weight, heads)).flatten(1, 2)
    mixed = (sought @ placed.transpose(1, 2)).softmax(dim=-1) @ cells
    values = mixed.unflatten(1, (heads, -1)) @ _by_head(attention.v_proj.weight, heads).transpose(1, 2)
    read: Tensor = attention.out_proj(values.transpose(1, 2).flatten(2) + attention.v_proj.bias)
    return read


def _read_tokens(attention: Any, placed: Tensor, tokens: Tensor, values: Tensor) -> Tensor:
    """Let cells (N or 1, S, C) attend to tokens (N, T, C), whose values are those of tokens without position codes."""
    heads = attention.num_attention_heads
    keys = _split(attention.k_proj(tokens) * attention.scaling, heads)
    sought = (keys @ _by_head(attention.q_proj.weight, heads)).flatten(1, 2)
    shift = keys @ attention.q_proj.bias.view(heads, -1, 1)
    logits = (sought @ placed.transpose(1, 2)).unflatten(1, (heads, -1)) + shift
    offered = _split(attention.v_proj(values), heads) @ _by_head(attention.out_proj.weight.T, heads)
    read: Tensor = logits.softmax(dim=2).flatten(1, 2).transpose(1, 2) @ offered.flatten(1, 2)
    return read + attention.out_proj.bias


def _split(tokens: Tensor, heads: int) -> Tensor:
    """Give each head its channels: (N, T, D) to (N, heads, T, D / heads)."""
    return tokens.unflatten(-1, (heads, -1)).transpose(1, 2)


def _by_head(weight: Tensor, heads: int) -> Tensor:
    """Give each head its rows of a weight: (D, C) to (heads, D / heads, C)."""
    return weight.unflatten(0, (heads, -1))


def _draw(decoder: Any, cells: Tensor, weights: Tensor, height: int, width: int) -> Tensor:
    """Draw masks (N, K, 4h, 4w) from cells (N, S, C) and the weights of the finest map's channels, (N, C / 8, K)."""
    norm = decoder.upscale_layer_norm
    fine = _double(decoder.upscale_conv1, cells)
    fine = F.gelu(F.layer_norm(fine, norm.weight.shape, norm.weight, norm.bias, norm.eps))
    fine = F.gelu(_double(decoder.upscale_conv2, fine)).flatten(1, 3)  # (N, S * 16, C / 8)
    drawn = (fine @ weights).transpose(1, 2).flatten(0, 1).view(-1, height, width, 2, 2, 2, 2)
    # row and column of the cell, row and column in its first doubling, in its second
    return drawn.permute(0, 1, 3, 5, 2, 4, 6).reshape(-1, weights.shape[2], 4 * height, 4 * width)


def _double(conv: Any, cells: Tensor) -> Tensor:
    """Apply a transposed convolution of stride and size 2: cells (..., C) to the four parts of each, (..., 4, C')."""
    weight = conv.weight.permute(2, 3, 1, 0).flatten(0, 2)
    return F.linear(cells, weight, conv.bias.repeat(4)).unflatten(-1, (4, -1))
