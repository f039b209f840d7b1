"""CLIP's image tower: a vision transformer whose class token is projected to the space of CLIP's text embeddings.

Paper: Radford et al. 2021, arXiv:2103.00020. The network is transformers' CLIPVisionModelWithProjection.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from promptseg.encoders.base import AttentionMask, TokenTower, check_blocks, check_pixels
from promptseg.encoders.published import load_published
from promptseg.encoders.tower_facts import CLIP_MEAN, CLIP_STD, Layer
from promptseg.errors import WeightsError

# size: (width, blocks, heads, patch, input side of the trained position table in pixels, dimension of the embedding)
SIZES = {
    "base-patch16": (768, 12, 12, 16, 224, 512),
    "base-patch32": (768, 12, 12, 32, 224, 512),
    "test": (32, 4, 2, 16, 64, 24),
}


class ClipVision(TokenTower):
    """Compute token states after chosen blocks, without the last norm, and the embedding of an image.

    Position codes are interpolated to the size of the input. Weights are random until `load_weights`.

    Args:
        size: "base-patch16", "base-patch32", or "test".
        layers: Blocks whose output is returned, ascending; 0 is the first block, 11 the last of twelve.

    Raises:
        ValueError: The size is unknown, or a layer is not a block.
    """

    mean = CLIP_MEAN
    std = CLIP_STD

    def __init__(self, size: str = "base-patch16", layers: Sequence[Layer] = (3, 6, 9)) -> None:
        super().__init__()
        # imported here because the import of transformers takes seconds
        from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

        if size not in SIZES:
            raise ValueError(f"size must be one of {', '.join(SIZES)}, got {size!r}")
        width, num_blocks, num_heads, patch, position_pixels, embedding_dim = SIZES[size]
        self.layers = check_blocks(layers, num_blocks)
        self.channels = (width,) * len(self.layers)
        self.strides = (patch,) * len(self.layers)
        self.multiple = patch
        self.embedding_dim = embedding_dim
        self.model = CLIPVisionModelWithProjection(
            CLIPVisionConfig(
                hidden_size=width,
                intermediate_size=4 * width,
                num_hidden_layers=num_blocks,
                num_attention_heads=num_heads,
                image_size=position_pixels,
                patch_size=patch,
                projection_dim=embedding_dim,
            )
        )

    def encode_tokens(self, pixels: Tensor) -> tuple[Tensor, ...]:
        states = self._embed_patches(pixels)
        taken = []
        # blocks above the last chosen one are not needed
        for index, block in enumerate(self.model.vision_model.encoder.layers[: self.layers[-1] + 1]):
            states = block(states, None)
            if index in self.layers:
                taken.append(states)
        return tuple(taken)

    def embed_images(self, pixels: Tensor, attention_mask: AttentionMask | None = None) -> Tensor:
        states = self._embed_patches(pixels)
        blocks = self.model.vision_model.encoder.layers
        for index, block in enumerate(blocks):
            if attention_mask is None or (attention_mask.layers == "last" and index < len(blocks) - 1):
                states = block(states, None)
            else:
                states = states + _masked_attention(block.self_attn, block.layer_norm1(states), attention_mask)
                states = states + block.mlp(block.layer_norm2(states))
        pooled = self.model.vision_model.post_layernorm(states[:, 0])
        embedding: Tensor = self.model.visual_projection(pooled)
        return embedding

    def load_weights(self, *paths: Path) -> None:
        from transformers import CLIPVisionModelWithProjection

        (directory,) = paths
        model = load_published(CLIPVisionModelWithProjection, directory, what="CLIP's image tower")
        if (model.config.hidden_size, model.config.patch_size) != (self.channels[0], self.multiple):
            raise WeightsError(
                f"{directory} has width {model.config.hidden_size} and patch {model.config.patch_size}, "
                f"this tower {self.channels[0]} and {self.multiple}"
            )
        self.model = model

    def lora_targets(self, layers: Sequence[int]) -> list[str]:
        block = "model.vision_model.encoder.layers"
        return [f"{block}.{i}.self_attn.{name}" for i in layers for name in ("q_proj", "v_proj")]

    def _embed_patches(self, pixels: Tensor) -> Tensor:
        check_pixels(pixels, self.multiple)
        states = self.model.vision_model.embeddings(pixels, interpolate_pos_encoding=True)
        normed: Tensor = self.model.vision_model.pre_layrnorm(states)  # the published spelling
        return normed


def _masked_attention(attention: Any, states: Tensor, attention_mask: AttentionMask) -> Tensor:
    """Compute the attention of a block with logits multiplied by a mask; states: shape (B, T, C), and result.

    Source:
        `forward_multihead_attention` of github.com/timojl/clipseg @ 77c4e2d, models/clipseg.py (MIT): a masked patch
        has the logit 0, so its weight becomes small but not zero.
    """
    query, key, value = (
        projection(states).unflatten(-1, (attention.num_heads, -1)).transpose(1, 2)
        for projection in (attention.q_proj, attention.k_proj, attention.v_proj)
    )
    logits = query @ key.transpose(-1, -2) * attention.scale
    factor = torch.ones_like(logits)
    keep = attention_mask.tokens.flatten(1).to(logits)[:, None]
    if attention_mask.queries == "cls":
        factor[:, :, 0, 1:] = keep
    else:
        factor[:, :, 1:, 1:] = keep[:, :, None]
    read: Tensor = attention.out_proj(((logits * factor).softmax(-1) @ value).transpose(1, 2).flatten(2))
    return read
