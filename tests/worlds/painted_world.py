"""A segmenter whose maps are known."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from promptseg.prompts import Query
from promptseg.segmenter import Arrays, Prediction


@dataclass(frozen=True, eq=False)
class PaintedImage:
    """An encoded image of `Painted`: the pixels, uint8, shape (H, W, 3)."""

    image_rgb: NDArray[np.uint8]

    @property
    def size_hw(self) -> tuple[int, int]:
        return self.image_rgb.shape[0], self.image_rgb.shape[1]

    def to_arrays(self) -> Arrays:
        return {"image": self.image_rgb[None]}


class Painted:
    """A segmenter whose maps, 10x20 for an image of 100x400, are known: two squares, one, none."""

    prompt_kinds = frozenset({"text"})
    mask_threshold = 0.6
    presence_threshold = 0.5

    def __init__(self) -> None:
        self.maps = {name: np.full((10, 20), -8.0, np.float32) for name in ("squares", "square", "nothing")}
        self.maps["squares"][1:4, 2:6] = 2.0
        self.maps["squares"][6:9, 12:18] = 4.0
        self.maps["square"][0:10, 0:20] = 1.0

    def encode_image(self, image_rgb: NDArray[np.uint8]) -> PaintedImage:
        return PaintedImage(image_rgb)

    def encode_part(self, image_rgb: NDArray[np.uint8], *, compact: bool) -> PaintedImage:
        return PaintedImage(image_rgb)

    def restore_image(self, arrays: Mapping[str, NDArray[Any]], image_rgb: NDArray[np.uint8]) -> PaintedImage:
        return PaintedImage(image_rgb)

    def segment(self, image: PaintedImage, queries: Sequence[Query]) -> Prediction:
        labels = [query.label for query in queries]
        presence = np.array([{"squares": 0.9, "nothing": 0.1}.get(label, 0.8) for label in labels], np.float32)
        return Prediction(np.stack([self.maps[label] for label in labels]), presence, np.ones(len(labels), np.float32))
