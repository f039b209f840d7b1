"""Two image towers that encode the same image."""

import math
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from promptseg.encoders.base import ImageTower


class PairedTower(ImageTower):
    """Return the maps of two towers, ordered by stride; for equal strides, the first tower's map comes first.

    The last map of the first tower stays last, because the neck computes its overview from it.

    Args:
        first: The first tower.
        second: The second tower, with the same normalization of pixels.

    Raises:
        ValueError: The towers normalize pixels differently.
    """

    def __init__(self, first: ImageTower, second: ImageTower) -> None:
        super().__init__()
        if (first.mean, first.std) != (second.mean, second.std):
            raise ValueError("both towers of a pair must take pixels of the same mean and standard deviation")
        self.first, self.second = first, second
        self.mean, self.std = first.mean, first.std
        self.detected_names = first.detected_names or second.detected_names
        self.multiple = math.lcm(first.multiple, second.multiple)
        strides = (*first.strides[:-1], *second.strides)
        # the sort is stable: for equal strides, the first tower's maps come first
        self.order = sorted(range(len(strides)), key=lambda index: strides[index])
        channels = (*first.channels[:-1], *second.channels)
        self.strides = (*(strides[index] for index in self.order), first.strides[-1])
        self.channels = (*(channels[index] for index in self.order), first.channels[-1])

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        return self.detect(pixels)[0]

    def detect(self, pixels: Tensor) -> tuple[tuple[Tensor, ...], Tensor | None]:
        """Encode with both towers; detections are those of the first tower that detects."""
        (*maps, last), detections = self.first.detect(pixels)
        others, others_detections = self.second.detect(pixels)
        maps.extend(others)
        ordered = (*(maps[index] for index in self.order), last)
        return ordered, others_detections if detections is None else detections

    def load_weights(self, *paths: Path) -> None:
        first, second = paths
        self.first.load_weights(first)
        self.second.load_weights(second)

    def lora_targets(self, layers: Sequence[int]) -> list[str]:
        return [f"first.{name}" for name in self.first.lora_targets(layers)]
