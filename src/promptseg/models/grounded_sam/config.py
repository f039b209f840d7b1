"""LangSAM as data: which detector proposes boxes and which masker draws what is in them."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from promptseg.errors import CheckpointError, PromptError


@dataclass(frozen=True)
class LangSamConfig:
    """The parts and when they speak; nothing of it is trained.

    Attributes:
        detector: "promptseg" (the default model, whose objects become boxes), one of `detectors.load.DETECTOR_NAMES`,
            or a path: a directory that transformers loads, a YOLO-World v2 .pt file.
        masker: One of `sam.load.MASKER_NAMES`, or a directory that transformers loads.
        masker_side: Longest side of the image as the masker sees it, pixels.
        box_threshold: A box counts from this score on; None: the detector's own, for scores of detectors differ.
        text_threshold: A word of a phrase counts as seen from this score on; only GroundingDINO scores words.

    Raises:
        PromptError: A threshold is no score.
    """

    architecture: ClassVar[str] = "langsam"

    detector: str = "promptseg"
    masker: str = "mobile-sam"
    masker_side: int = 1024
    box_threshold: float | None = None
    text_threshold: float = 0.25

    def __post_init__(self) -> None:
        for name in ("box_threshold", "text_threshold"):
            value = getattr(self, name)
            if value is not None and not 0.0 <= value <= 1.0:
                raise PromptError(f"{name} is a score in [0, 1], not {value}")

    def to_dict(self) -> dict[str, Any]:
        """Give the config as what JSON can hold."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "LangSamConfig":
        """Build a config from what `to_dict` gave.

        Raises:
            CheckpointError: A field is unknown, or has a value that no model has.
        """
        try:
            return cls(**values)
        except (TypeError, PromptError) as error:
            raise CheckpointError(f"not a config of this version of promptseg: {error}") from error


@dataclass(frozen=True)
class LangSam:
    """The model behind `promptseg.load("langsam")`: a config and a place, for the parts bring their own weights.

    Attributes:
        config: The parts.
        device: Where the detector runs; the masker stays on the CPU.
    """

    config: LangSamConfig
    device: torch.device

    def to(self, device: torch.device) -> "LangSam":
        """Give the same model at another place."""
        return dataclasses.replace(self, device=device)

    def state_dict(self) -> dict[str, Any]:
        """Give its own weights: none."""
        return {}

    def trained_names(self) -> set[str]:
        """Name what was trained: nothing."""
        return set()
