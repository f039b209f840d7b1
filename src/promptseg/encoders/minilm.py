"""MiniLM-L6: a sentence encoder (all-MiniLM-L6-v2).

Papers: Wang et al. 2020, arXiv:2002.10957; Reimers and Gurevych 2019, arXiv:1908.10084 (mean pooling).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor

from promptseg.encoders.base import TextFeatures, TextTower, tokenize_batch
from promptseg.errors import WeightsError

# in the published file, but of no use here: sentences are pooled by the mean
UNUSED_KEYS = frozenset({"embeddings.position_ids", "pooler.dense.weight", "pooler.dense.bias"})


class MiniLM(TextTower):
    """BERT of six layers; the pooled vector is the mean of the token states.

    Built with random weights and without its vocabulary; `load_weights` reads both.

    Args:
        max_tokens: Longest sequence, the two special tokens included. A longer text keeps its first tokens.
    """

    dim = 384
    token_dim = 384

    def __init__(self, max_tokens: int = 64) -> None:
        super().__init__()
        # here and not above: transformers takes seconds to import
        from transformers import BertConfig, BertModel

        self.max_tokens = max_tokens
        config = BertConfig(
            hidden_size=self.dim, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536, vocab_size=30522
        )
        self.bert = BertModel(config, add_pooling_layer=False)
        # Tracing reads every property, and transformers would warn that it has to guess a loss.
        self.bert.loss_function = F.cross_entropy
        self._tokenizer: Any = None

    def tokenize(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        if self._tokenizer is None:
            raise WeightsError("MiniLM has no vocabulary yet: load its weights (minilm-l6) first")
        return tokenize_batch(self._tokenizer, texts, self.max_tokens)

    def forward(self, token_ids: Tensor, token_mask: Tensor) -> TextFeatures:
        tokens = self.bert(input_ids=token_ids, attention_mask=token_mask.long()).last_hidden_state
        weights = token_mask.unsqueeze(-1).to(tokens.dtype)
        mean = (tokens * weights).sum(dim=1) / weights.sum(dim=1)
        return TextFeatures(pooled=F.normalize(mean, dim=-1), embedding=mean, tokens=tokens, token_mask=token_mask)

    def load_weights(self, *paths: Path) -> None:
        from transformers import BertTokenizer

        (directory,) = paths
        state = load_file(directory / "model.safetensors")
        try:
            self.bert.load_state_dict({k: v for k, v in state.items() if k not in UNUSED_KEYS}, strict=True)
        except RuntimeError as error:
            raise WeightsError(f"{directory} does not hold MiniLM-L6: {error}") from error
        tokenizer = BertTokenizer(vocab=str(directory / "vocab.txt")).backend_tokenizer
        tokenizer.enable_truncation(self.max_tokens)
        tokenizer.enable_padding(pad_id=0, pad_token="[PAD]")
        self._tokenizer = tokenizer

    def lora_targets(self, layers: Sequence[int]) -> list[str]:
        return [f"bert.encoder.layer.{i}.attention.self.{name}" for i in layers for name in ("query", "value")]
