"""Build PromptSeg-S1: network and tokenizer."""

from typing import Any

from promptseg.encoders.tokenizers import load_tokenizer
from promptseg.models.promptseg_s1.config import PromptSegS1Config
from promptseg.models.promptseg_s1.graphs import open_graphs
from promptseg.models.promptseg_s1.segmenter import PromptSegS1Segmenter


def build(config: PromptSegS1Config, source: Any, options: Any) -> PromptSegS1Segmenter:
    """Build the segmenter; arguments as `promptseg.build.build`, errors as `registry.load_model`."""
    tokenizer = load_tokenizer(config.text_tower, offline=options.offline, progress=options.progress)
    graphs = open_graphs(config, source.identity, source.network.get, options.runtime)
    return PromptSegS1Segmenter(config, graphs, tokenizer)
