"""Which parts of a SAM are computed by an engine, and where their graphs come from. Nothing here imports torch."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

from promptseg.runtime import GraphSource, Step

SamPart = Literal["encode", "coarse", "single", "levels"]
"""Pixels to features; coarse masks to what is added to the embedding; prompts to one mask, to three."""


@dataclass(frozen=True)
class SamGraphs:
    """The graphs of one SAM.

    Inputs and outputs by name: "encode" takes `pixels` and gives `feature0`, ...; "coarse" takes `masks` (1, 1, 4h, 4w)
    and gives `dense` (1, C, h, w); "single" and "levels" take `feature0`, ..., `position`, `tokens` (1, T, C) and
    `dense`, and give `masks` (1, K, 4h, 4w) and `scores` (1, K). PyTorch takes several prompts at once.

    Attributes:
        name: Part of the names of its graphs, such as "mobile-sam".
        identity: Hash of the weights, and the longer side of what is encoded.
        num_features: Maps that "encode" gives.
        build: Gives a part for a canvas of some height and width, pixels; it may import torch and read weights.
        code: Files of this package whose code decides what is traced.
    """

    name: str
    identity: str
    num_features: int
    build: Callable[[SamPart, tuple[int, int]], Step]
    code: tuple[str, ...]

    def source(self, part: SamPart, canvas_hw: tuple[int, int]) -> GraphSource:
        """Give the source of a part for a canvas."""
        name = f"{self.name}-{part}-{canvas_hw[0]}x{canvas_hw[1]}"
        return GraphSource(name, f"{name} {self.identity}", partial(self.build, part, canvas_hw), self.code)


def feature_names(num_features: int) -> tuple[str, ...]:
    """Name the maps of an encoded image, the coarsest first."""
    return tuple(f"feature{index}" for index in range(num_features))
