"""Detectors by name, with their published weights, or from a path."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Literal, get_args

import torch

from promptseg import weights
from promptseg.detectors.base import Detector
from promptseg.detectors.grounding_dino import load_grounding_dino
from promptseg.detectors.name_vectors import TOWER, load_name_table
from promptseg.detectors.owlv2 import load_owlv2
from promptseg.detectors.yolo_world import load_yolo_world
from promptseg.encoders.base import TextTower
from promptseg.encoders.towers import build_text_tower, load_tower
from promptseg.errors import CheckpointError, UnknownModelError
from promptseg.weights import ReportProgress

DetectorName = Literal["grounding-dino-tiny", "grounding-dino-base", "owlv2-base", "yolo-world-v2-s"]
DETECTOR_NAMES: tuple[DetectorName, ...] = get_args(DetectorName)

Loader = Callable[[Path, torch.device], Detector]
_LOADERS: dict[str, Loader] = {
    "grounding-dino-tiny": load_grounding_dino,
    "grounding-dino-base": load_grounding_dino,
    "owlv2-base": load_owlv2,
}
# By the model_type in config.json.
_DIRECTORY_LOADERS: dict[str, Loader] = {"grounding-dino": load_grounding_dino, "owlv2": load_owlv2}


def load_detector(
    name_or_path: str | Path,
    *,
    device: torch.device,
    offline: bool = False,
    progress: ReportProgress | None = None,
) -> Detector:
    """Load a detector.

    Args:
        name_or_path: One of `DETECTOR_NAMES`; or a directory with transformers' GroundingDinoForObjectDetection or
            Owlv2ForObjectDetection and its tokenizer; or a YOLO-World v2 checkpoint as published (.pt).
        device: Where it runs.
        offline: Use no network for the weights.
        progress: Told (name, bytes here, bytes in all) while weights are fetched.

    Raises:
        UnknownModelError: No such detector.
        CheckpointError: The path holds none.
        WeightsError: The weights can't be had.
    """
    name, path = str(name_or_path), Path(name_or_path)
    if name in _LOADERS:
        return _LOADERS[name](weights.resolve(name, offline=offline, progress=progress), device)
    if name == "yolo-world-v2-s" or (path.suffix == ".pt" and path.is_file()):
        checkpoint = path if path.is_file() else weights.resolve(name, offline=offline, progress=progress)
        names = load_name_table(weights.resolve("clip-b32-names", offline=offline, progress=progress))
        return load_yolo_world(checkpoint, device, [names], _tower_at_hand())
    if not path.is_dir():
        raise UnknownModelError(
            f"no detector {name!r}; there are {', '.join(DETECTOR_NAMES)}, any text model of promptseg, or give a path"
        )
    try:
        model_type = json.loads((path / "config.json").read_text(encoding="utf-8")).get("model_type")
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: can't read its config.json ({error})") from error
    if model_type not in _DIRECTORY_LOADERS:
        raise CheckpointError(f"{path} holds a {model_type!r}; detectors are {' and '.join(_DIRECTORY_LOADERS)}")
    return _DIRECTORY_LOADERS[model_type](path, device)


def _tower_at_hand() -> TextTower | None:
    """CLIP's text tower where its 600 MB were pulled; the tables do for most names, so nothing fetches it unasked."""
    if TOWER not in weights.RECORDS or not weights.is_cached(weights.find_record(TOWER)):
        return None
    tower = build_text_tower(TOWER).eval()
    load_tower(tower, TOWER, offline=True)
    return tower
