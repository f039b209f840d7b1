"""Maskers by name, with their published weights, or from a directory."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Literal, get_args

from promptseg import weights
from promptseg.errors import CheckpointError, UnknownModelError
from promptseg.runtime.graph_runner import GraphRunner
from promptseg.sam.base import Masker
from promptseg.sam.mobile_sam import load_mobile_sam
from promptseg.sam.sam import build_tiny_sam, load_sam
from promptseg.sam.sam2 import load_sam2

MaskerName = Literal["mobile-sam", "sam2-hiera-tiny", "sam-vit-base", "sam-test"]
MASKER_NAMES: tuple[MaskerName, ...] = get_args(MaskerName)

_LOADERS: dict[str, Callable[..., Masker]] = {
    "mobile-sam": load_mobile_sam,
    "sam2-hiera-tiny": load_sam2,
    "sam-vit-base": load_sam,
}
# By the model_type in config.json.
_DIRECTORY_LOADERS: dict[str, Callable[..., Masker]] = {"sam": load_sam, "sam2": load_sam2}


def load_masker(
    name_or_dir: str | Path, *, input_side: int = 1024, runner: GraphRunner | None = None, offline: bool = False
) -> Masker:
    """Load a promptable masker.

    Args:
        name_or_dir: "mobile-sam" (10 M parameters), "sam2-hiera-tiny" (31 M, better edges, slower), "sam-vit-base"
            (94 M); "sam-test" is tiny and random. Or a directory with transformers' SamModel (any size) or Sam2Model.
        input_side: Pixels that the longer side is brought to, a multiple of 64; all were trained with 1024, and SAM
            takes no other.
        runner: By which engine; None is plain PyTorch.
        offline: Use no network for the weights.

    Raises:
        UnknownModelError: No such masker.
        CheckpointError: The directory holds none.
        WeightsError: The weights can't be had.
    """
    name = str(name_or_dir)
    if name == "sam-test":
        return build_tiny_sam(runner=runner)
    if name in _LOADERS:
        return _LOADERS[name](weights.resolve(name, offline=offline), input_side=input_side, runner=runner)
    directory = Path(name_or_dir)
    if not directory.is_dir():
        raise UnknownModelError(f"no masker {name!r}; there are {', '.join(MASKER_NAMES)}, or give a directory")
    try:
        model_type = json.loads((directory / "config.json").read_text(encoding="utf-8")).get("model_type")
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{directory}: can't read its config.json ({error})") from error
    if model_type not in _DIRECTORY_LOADERS:
        raise CheckpointError(f"{directory} holds a {model_type!r}; maskers are {' and '.join(_DIRECTORY_LOADERS)}")
    return _DIRECTORY_LOADERS[model_type](directory, input_side=input_side, runner=runner)
