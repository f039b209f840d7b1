"""Promptable segmenters by name, with their published weights, or from a directory."""

import hashlib
import json
from pathlib import Path

from promptseg import weights
from promptseg.errors import CheckpointError, UnknownModelError
from promptseg.runtime import Runtime
from promptseg.sam.base import PromptableSegmenter
from promptseg.sam.mobile_sam import load_mobile_sam
from promptseg.sam.names import SAM_NAMES
from promptseg.weights import ReportProgress
from promptseg.weights.cache import file_sha256

# The model_type in config.json of directories that are read.
_MODEL_TYPES = ("sam", "sam2")


def load_sam(
    name_or_dir: str | Path,
    *,
    runtime: Runtime,
    input_side: int = 1024,
    offline: bool = False,
    progress: ReportProgress | None = None,
) -> PromptableSegmenter:
    """Load a promptable segmenter.

    Args:
        name_or_dir: "mobile-sam" (10 M parameters), "sam2-hiera-tiny" (31 M, better edges, slower), "sam-vit-base"
            (94 M); "sam-test" is tiny and random. Or a directory with transformers' SamModel (any size) or Sam2Model.
        runtime: Computes it.
        input_side: Pixels that the longer side is brought to, a multiple of 64; all were trained with 1024, and SAM
            takes no other.
        offline: Use no network for the weights.
        progress: Told (name, bytes here, bytes in all) while weights are fetched.

    Raises:
        UnknownModelError: There is no such model.
        CheckpointError: The directory holds none.
        WeightsError: The weights can't be had.
    """
    name = str(name_or_dir)
    if name == "sam-test":
        from promptseg.sam.sam_vit import build_tiny_sam

        return build_tiny_sam(runtime=runtime)
    if name in SAM_NAMES:
        path = weights.resolve(name, offline=offline, progress=progress)
        identity = " ".join(file.sha256 for file in weights.find_record(name).files)
        if name == "mobile-sam":
            return load_mobile_sam(path, runtime=runtime, input_side=input_side, identity=identity)
        model_type = "sam2" if name == "sam2-hiera-tiny" else "sam"
        return _load_directory(path, model_type, runtime, input_side, identity)
    directory = Path(name_or_dir)
    if not directory.is_dir():
        raise UnknownModelError(f"no SAM is named {name!r}; there are {', '.join(SAM_NAMES)}, or give a directory")
    return _load_directory(directory, _read_model_type(directory), runtime, input_side, _hash_directory(directory))


def _load_directory(
    directory: Path, model_type: str, runtime: Runtime, input_side: int, identity: str
) -> PromptableSegmenter:
    # here and not above: both import transformers
    if model_type == "sam":
        from promptseg.sam.sam_vit import load_sam_vit

        return load_sam_vit(directory, runtime=runtime, input_side=input_side, identity=identity)
    from promptseg.sam.sam2 import load_sam2

    return load_sam2(directory, runtime=runtime, input_side=input_side, identity=identity)


def _read_model_type(directory: Path) -> str:
    try:
        model_type = json.loads((directory / "config.json").read_text(encoding="utf-8")).get("model_type")
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{directory}: can't read its config.json ({error})") from error
    if model_type not in _MODEL_TYPES:
        raise CheckpointError(f"{directory} holds a {model_type!r}; SAMs are {' and '.join(_MODEL_TYPES)}")
    return str(model_type)


def _hash_directory(directory: Path) -> str:
    """Hash the files that decide a model's numbers."""
    digest = hashlib.sha256()
    for path in sorted(path for path in directory.iterdir() if path.suffix in (".json", ".safetensors", ".bin")):
        digest.update(f"{path.name} {file_sha256(path)}\n".encode())
    return digest.hexdigest()
