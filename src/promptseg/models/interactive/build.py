"""Build the interactive model from its config."""

from typing import Any

from promptseg.models.interactive.config import InteractiveConfig
from promptseg.models.interactive.segmenter import InteractiveSegmenter
from promptseg.sam.load import load_sam


def build(config: InteractiveConfig, source: None, options: Any) -> InteractiveSegmenter:
    """Load SAM as a segmenter.

    Args:
        config: SAM model and input size.
        source: None; the model has no trained network.
        options: `registry.LoadOptions`.

    Raises:
        UnknownModelError: There is no SAM model of that name.
        WeightsError: The weights can't be fetched.
    """
    sam = load_sam(
        config.masker,
        runtime=options.runtime,
        input_side=config.input_side,
        offline=options.offline,
        progress=options.progress,
    )
    return InteractiveSegmenter(sam)
