"""MiniLM-L6: a sentence encoder (all-MiniLM-L6-v2).

Papers: Wang et al. 2020, arXiv:2002.10957; Reimers and Gurevych 2019, arXiv:1908.10084 (mean pooling).
"""

from collections.abc import Sequence
from pathlib import Path

import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor

from promptseg.encoders.base import TextFeatures, TextTower
from promptseg.encoders.tokenizers import read_wordpiece
from promptseg.encoders.tower_facts import TEXT_TOWER_FACTS
from promptseg.errors import WeightsError

# weights in the published file that are not used here, because sentences are pooled by the mean
UNUSED_KEYS = frozenset({"embeddings.position_ids", "pooler.dense.weight", "pooler.dense.bias"})


class MiniLM(TextTower):
    """BERT of six layers; the pooled vector is the mean of the token states.

    Weights are random and the vocabulary is missing until `load_weights` reads both.
    """

    dim = 384
    token_dim = 384
    max_tokens = TEXT_TOWER_FACTS["minilm-l6"].max_tokens

    def __init__(self) -> None:
        super().__init__()
        # imported here because the import of transformers takes seconds
        from transformers import BertConfig, BertModel

        config = BertConfig(
            hidden_size=self.dim, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536, vocab_size=30522
        )
        self.bert = BertModel(config, add_pooling_layer=False)
        # tracing reads every property, and transformers would warn about an unset loss function
        self.bert.loss_function = F.cross_entropy

    def forward(self, token_ids: Tensor, token_mask: Tensor) -> TextFeatures:
        tokens = self.bert(input_ids=token_ids, attention_mask=token_mask.long()).last_hidden_state
        weights = token_mask.unsqueeze(-1).to(tokens.dtype)
        mean = (tokens * weights).sum(dim=1) / weights.sum(dim=1)
        return TextFeatures(pooled=F.normalize(mean, dim=-1), embedding=mean, tokens=tokens, token_mask=token_mask)

    def load_weights(self, *paths: Path) -> None:
        (directory,) = paths
        state = load_file(directory / "model.safetensors")
        try:
            self.bert.load_state_dict({k: v for k, v in state.items() if k not in UNUSED_KEYS}, strict=True)
        except RuntimeError as error:
            raise WeightsError(f"{directory} does not hold MiniLM-L6: {error}") from error
        self.tokenizer = read_wordpiece(directory, TEXT_TOWER_FACTS["minilm-l6"])

    def lora_targets(self, layers: Sequence[int]) -> list[str]:
        return [f"bert.encoder.layer.{i}.attention.self.{name}" for i in layers for name in ("query", "value")]
