"""Config of SAM alone as a model, for points, boxes and masks."""

import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar

from promptseg.sam.names import SamName


@dataclass(frozen=True)
class InteractiveConfig:
    """SAM model and input size.

    Attributes:
        masker: Name of the SAM model.
        input_side: Longest side of its input, pixels.
    """

    architecture: ClassVar[str] = "interactive"

    masker: SamName
    input_side: int = 1024

    def to_dict(self) -> dict[str, Any]:
        """Convert the config to values that JSON can represent."""
        return dataclasses.asdict(self)
