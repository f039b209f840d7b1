"""LangSAM put together from its config."""

import torch

from promptseg import weights
from promptseg.detectors.base import Detector, Thresholds
from promptseg.detectors.load import load_detector
from promptseg.models.grounded_sam.config import LangSamConfig
from promptseg.models.grounded_sam.segmenter import GroundedSegmenter
from promptseg.models.grounded_sam.segmenter_detector import SegmenterDetector
from promptseg.models.registry import MODELS, load_model
from promptseg.runtime import build_segmenter, resolve_engine
from promptseg.runtime.graph_runner import GraphRunner, Precision
from promptseg.sam.load import load_masker
from promptseg.weights import ReportProgress


def load_langsam(
    config: LangSamConfig,
    *,
    device: torch.device,
    engine: str = "auto",
    offline: bool = False,
    progress: ReportProgress | None = None,
) -> GroundedSegmenter:
    """Load detector and masker.

    Args:
        config: Which ones, and their thresholds.
        device: Where the detector runs; the masker always runs on the CPU.
        engine: Of the default model where it is the detector, and of the masker; see `engines.build_segmenter`. Other
            detectors run in PyTorch.
        offline: Fetch nothing.
        progress: Told (name, bytes here, bytes in all) while weights are fetched.

    Raises:
        UnknownModelError: There is no such detector or masker.
        CheckpointError: A path holds none.
        WeightsError: Weights can't be fetched, or `offline` forbids it.
        EngineError: The engine is unknown or does not run on the device.
    """
    detector = _load_detector(config.detector, device=device, engine=engine, offline=offline, progress=progress)
    if config.masker in weights.RECORDS:
        weights.resolve(config.masker, offline=offline, progress=progress)
    runner = None
    if (resolved := resolve_engine(engine, device)) != "torch":
        precision: Precision = "bf16" if resolved == "openvino-bf16" else "f32"
        runner = GraphRunner("openvino", precision=precision, num_threads=torch.get_num_threads())
    masker = load_masker(config.masker, input_side=config.masker_side, runner=runner, offline=offline)
    thresholds = None if config.box_threshold is None else Thresholds(config.box_threshold, config.text_threshold)
    return GroundedSegmenter(detector, masker, thresholds)


def _load_detector(
    name_or_path: str, *, device: torch.device, engine: str, offline: bool, progress: ReportProgress | None
) -> Detector:
    if name_or_path not in MODELS:
        return load_detector(name_or_path, device=device, offline=offline, progress=progress)
    # Its refiner is left out: the masker does that work.
    network = load_model(name_or_path, offline=offline, progress=progress).to(device)
    return SegmenterDetector(build_segmenter(network, engine), network.image_tower.detected_names)
