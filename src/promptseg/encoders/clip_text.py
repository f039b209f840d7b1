"""CLIP's text tower.

Paper: Radford et al. 2021, arXiv:2103.00020. The network is transformers' CLIPTextModelWithProjection.
"""

from collections.abc import Sequence
from pathlib import Path

import torch.nn.functional as F
from torch import Tensor

from promptseg.encoders.base import TextFeatures, TextTower
from promptseg.encoders.published import load_published
from promptseg.encoders.tokenizers import CLIP_END_TOKEN, BackendTokenizer, read_clip
from promptseg.encoders.tower_facts import TEXT_TOWER_FACTS

# size: (width, blocks, heads, dimension of the embedding, activation)
SIZES = {
    "base": (512, 12, 8, 512, "quick_gelu"),
    "convnext-large": (768, 16, 12, 768, "gelu"),
    "test": (24, 2, 2, 24, "quick_gelu"),
}


class ClipText(TextTower):
    """Text tower of a CLIP: 77 tokens; the pooled vector is the projected state of the end token.

    Weights are random and the tokenizer is missing until `load_weights` reads both.

    Args:
        size: "base" for CLIP ViT-B/16 and B/32, "convnext-large" for OpenCLIP's convnext_large_d_320, or "test".
    """

    max_tokens = 77

    def __init__(self, size: str = "base") -> None:
        super().__init__()
        # imported here because the import of transformers takes seconds
        from transformers import CLIPTextConfig, CLIPTextModelWithProjection

        self.token_dim, num_blocks, num_heads, self.dim, activation = SIZES[size]
        config = CLIPTextConfig(
            hidden_size=self.token_dim,
            intermediate_size=4 * self.token_dim,
            num_hidden_layers=num_blocks,
            num_attention_heads=num_heads,
            projection_dim=self.dim,
            hidden_act=activation,
            bos_token_id=CLIP_END_TOKEN - 1,
            eos_token_id=CLIP_END_TOKEN,
        )
        self.clip = CLIPTextModelWithProjection(config)

    def forward(self, token_ids: Tensor, token_mask: Tensor) -> TextFeatures:
        # no mask is needed: attention is causal and padding comes last, so real tokens never attend to padding
        output = self.clip(input_ids=token_ids)
        return TextFeatures(
            pooled=F.normalize(output.text_embeds, dim=-1),
            embedding=output.text_embeds,
            tokens=output.last_hidden_state,
            token_mask=token_mask,
        )

    def load_weights(self, *paths: Path) -> None:
        from transformers import CLIPTextModelWithProjection

        (directory,) = paths
        self.clip = load_published(CLIPTextModelWithProjection, directory, what="CLIP's text tower")
        self.load_tokenizer(directory)

    def load_tokenizer(self, directory: Path) -> None:
        """Load the tokenizer alone from a directory for transformers' CLIPTokenizer (weights clip-tokenizer)."""
        self.tokenizer = read_clip(directory, TEXT_TOWER_FACTS["clip-vit-base-patch16"])

    def save_tokenizer(self, directory: Path) -> None:
        """Write the tokenizer for transformers' CLIPTokenizer; write nothing if it is not loaded.

        Raises:
            OSError: The directory can't be written.
        """
        if isinstance(self.tokenizer, BackendTokenizer):
            from transformers import CLIPTokenizer

            CLIPTokenizer(tokenizer_object=self.tokenizer.backend).save_pretrained(directory)

    def lora_targets(self, layers: Sequence[int]) -> list[str]:
        return [f"clip.text_model.encoder.layers.{i}.self_attn.{name}" for i in layers for name in ("q_proj", "v_proj")]
