"""Detectors by name, with their published weights, or from a path."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from promptseg import weights
from promptseg.detectors.base import Detector
from promptseg.errors import CheckpointError, UnknownModelError
from promptseg.weights import ReportProgress

if TYPE_CHECKING:
    from promptseg.encoders.base import TextTower

DetectorName = Literal["grounding-dino-tiny", "grounding-dino-base", "owlv2-base", "yolo-world-v2-s"]
DETECTOR_NAMES: tuple[DetectorName, ...] = get_args(DetectorName)

# The model_type in config.json of what a name's weights are.
_MODEL_TYPES = {
    "grounding-dino-tiny": "grounding-dino",
    "grounding-dino-base": "grounding-dino",
    "owlv2-base": "owlv2",
}


def load_detector(
    name_or_path: str | Path, *, device: str = "cpu", offline: bool = False, progress: ReportProgress | None = None
) -> Detector[Any]:
    """Load a detector, which runs in PyTorch.

    Args:
        name_or_path: One of `DETECTOR_NAMES`; or a directory with transformers' GroundingDinoForObjectDetection or
            Owlv2ForObjectDetection and its tokenizer; or a YOLO-World v2 checkpoint as published (.pt).
        device: Where it runs, as torch writes it.
        offline: Use no network for the weights.
        progress: Told (name, bytes here, bytes in all) while weights are fetched.

    Raises:
        UnknownModelError: There is no such detector.
        CheckpointError: The path holds none.
        WeightsError: The weights can't be had.
    """
    name, path = str(name_or_path), Path(name_or_path)
    if name in _MODEL_TYPES:
        directory = weights.resolve(name, offline=offline, progress=progress)
        return _load_directory(directory, _MODEL_TYPES[name], device)
    if name == "yolo-world-v2-s" or (path.suffix == ".pt" and path.is_file()):
        return _load_yolo_world(path if path.is_file() else None, device, offline=offline, progress=progress)
    if not path.is_dir():
        raise UnknownModelError(
            f"no detector {name!r}; there are {', '.join(DETECTOR_NAMES)}, any text model of promptseg, or give a path"
        )
    try:
        model_type = json.loads((path / "config.json").read_text(encoding="utf-8")).get("model_type")
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: can't read its config.json ({error})") from error
    known = sorted(set(_MODEL_TYPES.values()))
    if model_type not in known:
        raise CheckpointError(f"{path} holds a {model_type!r}; detectors are {' and '.join(known)}")
    return _load_directory(path, model_type, device)


# Each detector is imported where it is loaded: all import torch, and two of them transformers.


def _load_directory(directory: Path, model_type: str, device: str) -> Detector[Any]:
    if model_type == "owlv2":
        from promptseg.detectors.owlv2 import load_owlv2

        return load_owlv2(directory, device)
    from promptseg.detectors.grounding_dino import load_grounding_dino

    return load_grounding_dino(directory, device)


def _load_yolo_world(
    path: Path | None, device: str, *, offline: bool, progress: ReportProgress | None
) -> Detector[Any]:
    from promptseg.detectors.name_vectors import load_name_table
    from promptseg.detectors.yolo_world import load_yolo_world

    checkpoint = path or weights.resolve("yolo-world-v2-s", offline=offline, progress=progress)
    names = load_name_table(weights.resolve("clip-b32-names", offline=offline, progress=progress))
    return load_yolo_world(checkpoint, device, [names], _cached_text_tower())


def _cached_text_tower() -> "TextTower | None":
    """Give CLIP's text tower where its 600 MB were pulled; most names are in tables, so nothing fetches it unasked."""
    from promptseg.detectors.name_vectors import TOWER
    from promptseg.encoders.towers import build_text_tower, load_tower

    if TOWER not in weights.RECORDS or not weights.is_cached(weights.find_record(TOWER)):
        return None
    tower = build_text_tower(TOWER).eval()
    load_tower(tower, TOWER, offline=True)
    return tower
