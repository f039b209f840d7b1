"""Build Uni-OVSeg: network and tokenizer."""

from collections.abc import Sequence
from typing import Any

from promptseg.encoders.tokenizers import TokenArrays
from promptseg.models.uniovseg.config import UniOvSegConfig
from promptseg.models.uniovseg.graphs import open_graphs
from promptseg.models.uniovseg.segmenter import UniOvSegSegmenter
from promptseg.ops.deferred import Deferred


def build(config: UniOvSegConfig, source: Any, options: Any) -> UniOvSegSegmenter:
    """Build the segmenter; arguments as `promptseg.build.build`, errors as `registry.load_model`."""

    def tokenize(texts: Sequence[str]) -> TokenArrays:
        tokens: TokenArrays = source.network.get().text_tower.tokenizer(texts)
        return tokens

    takes_names = config.text_tower is not None

    graphs = open_graphs(source.identity, source.network.get, options.runtime, pooling=config.settings.pooling)
    scale = Deferred(lambda: float(source.network.get().clip_tower().cosine_scale()))
    return UniOvSegSegmenter(config, graphs, tokenize if takes_names else None, scale)
