"""Build CLIPSeg: network and tokenizer."""

from collections.abc import Sequence
from typing import Any

from promptseg.encoders.tokenizers import TokenArrays
from promptseg.models.clipseg.config import ClipSegConfig
from promptseg.models.clipseg.graphs import open_graphs
from promptseg.models.clipseg.segmenter import ClipSegSegmenter


def build(config: ClipSegConfig, source: Any, options: Any) -> ClipSegSegmenter:
    """Build the segmenter; arguments as `promptseg.build.build`, errors as `registry.load_model`."""

    def tokenize(texts: Sequence[str]) -> TokenArrays:
        # the tokenizer of the network: a model that transformers saved may have a separate vocabulary
        tokens: TokenArrays = source.network.get().text_tower.tokenizer(texts)
        return tokens

    graphs = open_graphs(source.identity, source.network.get, options.runtime)
    return ClipSegSegmenter(config, graphs, tokenize)
