"""Maskers by name, with their published weights."""

from typing import Literal, get_args

from promptseg import weights
from promptseg.errors import UnknownModelError
from promptseg.maskers.base import Masker
from promptseg.maskers.graph import GraphRunner
from promptseg.maskers.mobile_sam import load_mobile_sam
from promptseg.maskers.sam2 import load_sam2

MaskerName = Literal["mobile-sam", "sam2-hiera-tiny"]
MASKER_NAMES: tuple[MaskerName, ...] = get_args(MaskerName)


def load_masker(
    name: MaskerName, *, input_side: int = 1024, runner: GraphRunner | None = None, offline: bool = False
) -> Masker:
    """Load a promptable masker.

    Args:
        name: "mobile-sam" (10 M parameters) or "sam2-hiera-tiny" (31 M, better edges, slower).
        input_side: Pixels that the longer side is brought to, a multiple of 64; both were trained with 1024.
        runner: By which engine; None is plain PyTorch.
        offline: Use no network for the weights.

    Raises:
        UnknownModelError: No such masker.
        WeightsError: The weights can't be had.
    """
    if name not in MASKER_NAMES:
        raise UnknownModelError(f"no masker {name!r}; there are {', '.join(MASKER_NAMES)}")
    path = weights.resolve(name, offline=offline)
    load = load_mobile_sam if name == "mobile-sam" else load_sam2
    return load(path, input_side=input_side, runner=runner)
