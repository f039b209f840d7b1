"""CLIP's text tower.

Paper: Radford et al. 2021, arXiv:2103.00020. The network is transformers' CLIPTextModelWithProjection.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from promptseg.encoders.base import TextFeatures, TextTower, tokenize_batch
from promptseg.encoders.published import load_published
from promptseg.errors import WeightsError

END_TOKEN = 49407  # also the padding; the first one ends the text
# size: (width, blocks, heads, channels of the embedding)
SIZES = {"base": (512, 12, 8, 512), "test": (24, 2, 2, 24)}


class ClipText(TextTower):
    """Text tower of CLIP ViT-B/16: 77 tokens; the pooled vector is the projected state of the end token.

    Built with random weights and without its tokenizer; `load_weights` reads both.

    Args:
        size: "base", of CLIP ViT-B/16 and B/32, or "test".
    """

    max_tokens = 77

    def __init__(self, size: str = "base") -> None:
        super().__init__()
        # here and not above: transformers takes seconds to import
        from transformers import CLIPTextConfig, CLIPTextModelWithProjection

        self.token_dim, num_blocks, num_heads, self.dim = SIZES[size]
        config = CLIPTextConfig(
            hidden_size=self.token_dim,
            intermediate_size=4 * self.token_dim,
            num_hidden_layers=num_blocks,
            num_attention_heads=num_heads,
            projection_dim=self.dim,
            bos_token_id=END_TOKEN - 1,
            eos_token_id=END_TOKEN,
        )
        self.clip = CLIPTextModelWithProjection(config)
        self._tokenizer: Any = None

    def tokenize(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        if self._tokenizer is None:
            raise WeightsError("CLIP has no tokenizer yet: load its weights (clip-vit-base-patch16) first")
        return tokenize_batch(self._tokenizer, texts, self.max_tokens)

    def forward(self, token_ids: Tensor, token_mask: Tensor) -> TextFeatures:
        # no mask goes in: attention is causal and padding comes last, so no real token ever sees any
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
        """Read the tokenizer alone, from a directory that transformers' CLIPTokenizer loads (clip-tokenizer)."""
        from transformers import CLIPTokenizer

        tokenizer = CLIPTokenizer.from_pretrained(directory, local_files_only=True).backend_tokenizer
        tokenizer.enable_truncation(self.max_tokens)
        tokenizer.enable_padding(pad_id=END_TOKEN, pad_token="<|endoftext|>")
        self._tokenizer = tokenizer

    def save_tokenizer(self, directory: Path) -> None:
        """Write the tokenizer as transformers' CLIPTokenizer reads it; nothing where it was never loaded.

        Raises:
            OSError: The directory can't be written.
        """
        if self._tokenizer is not None:
            from transformers import CLIPTokenizer

            CLIPTokenizer(tokenizer_object=self._tokenizer).save_pretrained(directory)

    def lora_targets(self, layers: Sequence[int]) -> list[str]:
        return [f"clip.text_model.encoder.layers.{i}.self_attn.{name}" for i in layers for name in ("q_proj", "v_proj")]
