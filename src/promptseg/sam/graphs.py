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

    Inputs and outputs by name: "encode" takes `pixels` and gives `feature0`, ...; "coarse" takes `masks` (N, 1, 4h, 4w)
    and gives `dense` (N, C, h, w); "single" and "levels" take `feature0`, ..., `position`, `tokens` (N, T, C) and
    `dense` (1 or N, C, h, w), and give `masks` (N, K, 4h, 4w) and `scores` (N, K).

    Attributes:
        name: Part of the names of its graphs, such as "mobile-sam".
        identity: Hash of the weights, and the longer side of what is encoded.
        num_features: Maps that "encode" gives.
        build: Gives a part for a canvas of some height and width, pixels; it may import torch and read weights.
        code: Files of this package whose code decides what is traced.
        int8_fits: Of "encode", see `GraphSource`.
    """

    name: str
    identity: str
    num_features: int
    build: Callable[[SamPart, tuple[int, int]], Step]
    code: tuple[str, ...]
    int8_fits: str | None = None

    def source(self, part: SamPart, canvas_hw: tuple[int, int]) -> GraphSource:
        """Give the source of a part for a canvas; "encode" is compiled for each, the other parts take any."""
        name = f"{self.name}-{part}"
        if part == "encode":
            name = f"{name}-{canvas_hw[0]}x{canvas_hw[1]}"
        int8_fits = self.int8_fits if part == "encode" else None
        build = partial(self.build, part, canvas_hw)
        return GraphSource(name, f"{name} {self.identity}", build, self.code, int8_fits)


def feature_names(num_features: int) -> tuple[str, ...]:
    """Name the maps of an encoded image, the coarsest first."""
    return tuple(f"feature{index}" for index in range(num_features))
