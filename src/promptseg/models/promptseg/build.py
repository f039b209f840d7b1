"""Build the default model: network, tokenizer and SAM."""

from typing import Any

from promptseg.detectors.efficientdet import load_detector
from promptseg.encoders.classifier import load_classifier
from promptseg.encoders.tokenizers import load_tokenizer
from promptseg.models.promptseg.coarse import CoarseSegmenter
from promptseg.models.promptseg.coarse_segmenter import TextAndExemplarSegmenter
from promptseg.models.promptseg.config import PromptSegConfig
from promptseg.models.promptseg.graphs import open_graphs
from promptseg.models.promptseg.pipeline import PromptSegPipeline
from promptseg.sam.load import load_sam
from promptseg.segmenter import Segmenter


def build(config: PromptSegConfig, source: Any, options: Any) -> Segmenter[Any]:
    """Build the segmenter; see `registry.load_model` for the errors.

    Args:
        config: Architecture and thresholds.
        source: `registry.NetworkSource` of the network.
        options: `registry.LoadOptions`.

    Returns:
        The whole pipeline; the network alone if the config has no refiner.
    """
    coarse = build_coarse(config, source, options)
    if config.refiner is None:
        return TextAndExemplarSegmenter(coarse)
    sam = load_sam(
        config.refiner,
        runtime=options.runtime,
        input_side=config.settings.sam_input_side,
        offline=options.offline,
        progress=options.progress,
    )
    return PromptSegPipeline(coarse, sam)


def build_coarse(config: PromptSegConfig, source: Any, options: Any) -> CoarseSegmenter:
    """Build the coarse segmenter, without SAM; arguments as `build`."""
    tokenizer = load_tokenizer(config.text_tower, offline=options.offline, progress=options.progress)
    classifier = None
    if config.classifier is not None:
        classifier = load_classifier(
            config.classifier.name,
            image_size=config.classifier.image_size,
            runtime=options.runtime,
            offline=options.offline,
            progress=options.progress,
        )
    detector = None if config.detector is None else load_detector(config.detector, runtime=options.runtime)
    graphs = open_graphs(config, source.identity, source.network.get, options.runtime)
    return CoarseSegmenter(config, graphs, tokenizer, classifier, detector)
