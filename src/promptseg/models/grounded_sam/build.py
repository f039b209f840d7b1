"""Build LangSAM from its config."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from promptseg.detectors.base import Detector, Thresholds
from promptseg.detectors.load import DETECTOR_NAMES, load_detector
from promptseg.detectors.segmenter_detector import SegmenterDetector
from promptseg.errors import UnknownModelError
from promptseg.models.grounded_sam.config import GroundedSamConfig
from promptseg.models.grounded_sam.segmenter import GroundedSegmenter
from promptseg.sam.load import load_sam
from promptseg.segmenter import Segmenter


def build(config: GroundedSamConfig, source: None, options: Any) -> GroundedSegmenter:
    """Load the detector and SAM. Detectors run in PyTorch on the runtime's device.

    Args:
        config: Detector, SAM model and thresholds.
        source: None; the model has no trained network.
        options: `registry.LoadOptions`.

    Raises:
        UnknownModelError: There is no such detector or SAM model.
        CheckpointError: A path holds no such model.
        WeightsError: Weights can't be fetched, or `offline` forbids it.
    """
    runtime, offline, progress = options.runtime, options.offline, options.progress
    detector: Detector[Any]
    if config.detector in DETECTOR_NAMES or Path(config.detector).exists():
        detector = load_detector(config.detector, device=runtime.device, offline=offline, progress=progress)
    else:
        detector = SegmenterDetector(_load_text_segmenter(config.detector, options.load_segmenter))
    sam = load_sam(config.masker, runtime=runtime, input_side=config.masker_side, offline=offline, progress=progress)
    thresholds = None if config.box_threshold is None else Thresholds(config.box_threshold, config.text_threshold)
    return GroundedSegmenter(detector, sam, thresholds)


def _load_text_segmenter(name: str, load_segmenter: Callable[[str], Segmenter[Any]]) -> Segmenter[Any]:
    try:
        segmenter = load_segmenter(name)
    except UnknownModelError as error:
        raise UnknownModelError(
            f"there is no detector {name!r}; use one of {', '.join(DETECTOR_NAMES)}, a text model of promptseg, "
            "or a path"
        ) from error
    if "text" not in segmenter.prompt_kinds:
        raise UnknownModelError(
            f"{name!r} takes no text, so it can't be a detector; use 'promptseg' or one of {', '.join(DETECTOR_NAMES)}"
        )
    return segmenter
