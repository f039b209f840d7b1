"""Two image towers that look at the same image."""

import math
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from promptseg.encoders.base import ImageTower


class PairedTower(ImageTower):
    """The maps of two towers, side by side: where strides agree, the first tower's map comes first.

    The last map of the first tower stays last: it is what a neck takes its overview from.

    Args:
        first: Its normalization of pixels is that of the pair.
        second: Must expect the same normalization.

    Raises:
        ValueError: the towers normalize differently.
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
        # a stable order: of maps with one stride, the first tower's come first
        self.order = sorted(range(len(strides)), key=lambda index: strides[index])
        channels = (*first.channels[:-1], *second.channels)
        self.strides = (*(strides[index] for index in self.order), first.strides[-1])
        self.channels = (*(channels[index] for index in self.order), first.channels[-1])

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        return self.detect(pixels)[0]

    def detect(self, pixels: Tensor) -> tuple[tuple[Tensor, ...], Tensor | None]:
        """Encode by both, and give what was detected: by the first, where both detect."""
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
