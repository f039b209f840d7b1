"""Config of LangSAM: the detector that finds the boxes of phrases, and the SAM model that segments them."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from promptseg._value_checks import checked_probability
from promptseg.errors import CheckpointError, PromptError


@dataclass(frozen=True)
class GroundedSamConfig:
    """Detector, SAM model and thresholds; all weights are published ones.

    Attributes:
        detector: "promptseg" (the default model, whose instances give the boxes) or another text model; one of
            `detectors.load.DETECTOR_NAMES`; or a path: a directory that transformers loads, a YOLO-World v2 .pt file.
        masker: One of `sam.load.SAM_NAMES`, or a directory that transformers loads.
        masker_side: Longest side of SAM's input, pixels.
        box_threshold: Minimum score of a box; None: the default of the detector, because scores differ by detector.
        text_threshold: Minimum score of a word in a phrase to be found in a box; only GroundingDINO scores words.

    Raises:
        PromptError: A threshold is not in [0, 1], or a field is of another type.
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
            if value is not None:
                object.__setattr__(self, name, checked_probability(value, what=name))
        for name in ("detector", "masker"):
            if not isinstance(getattr(self, name), str) or not getattr(self, name):
                raise PromptError(f"{name} is a name or a path as text, not {getattr(self, name)!r:.80}")
        if isinstance(self.masker_side, bool) or not isinstance(self.masker_side, int) or self.masker_side < 1:
            raise PromptError(f"masker_side is a whole number of pixels from 1 on, not {self.masker_side!r:.80}")

    def to_dict(self) -> dict[str, Any]:
        """Convert the config to values that JSON can represent."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "GroundedSamConfig":
        """Build a config from the result of `to_dict`.

        Raises:
            CheckpointError: A field is unknown or invalid.
        """
        try:
            return cls(**values)
        except (TypeError, PromptError) as error:
            raise CheckpointError(f"not a config of this version of promptseg: {error}") from error
