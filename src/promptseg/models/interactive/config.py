"""A masker alone as a model: for those who only point."""

import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from promptseg.sam.load import MaskerName


@dataclass(frozen=True)
class MaskerConfig:
    """Which masker, and how large it sees images.

    Attributes:
        masker: Its name.
        input_side: Longest side of the image as the masker sees it, pixels.
    """

    architecture: ClassVar[str] = "masker"

    masker: MaskerName
    input_side: int = 1024

    def to_dict(self) -> dict[str, Any]:
        """Give the config as what JSON can hold."""
        return dataclasses.asdict(self)


@dataclass(frozen=True)
class MaskerModel:
    """The model behind `promptseg.load("mobile-sam")`: a config, for the masker brings its own weights.

    Attributes:
        config: Which masker.
    """

    config: MaskerConfig

    @property
    def device(self) -> torch.device:
        """Where it runs: always the CPU."""
        return torch.device("cpu")

    def state_dict(self) -> dict[str, Any]:
        """Give its own weights: none."""
        return {}

    def trained_names(self) -> set[str]:
        """Name what was trained: nothing."""
        return set()
