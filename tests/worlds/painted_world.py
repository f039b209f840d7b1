"""A segmenter whose maps are known."""

from collections.abc import Sequence

import numpy as np
import torch

from promptseg.prompts import Query
from promptseg.segmenter import Features, Prediction


class Painted:
    """A segmenter whose maps, 10x20 for an image of 100x400, are known: two squares, one, none."""

    prompt_kinds = frozenset({"text"})
    mask_threshold = 0.6
    presence_threshold = 0.5

    def __init__(self) -> None:
        self.maps = {name: torch.full((10, 20), -8.0) for name in ("squares", "square", "nothing")}
        self.maps["squares"][1:4, 2:6] = 2.0
        self.maps["squares"][6:9, 12:18] = 4.0
        self.maps["square"][0:10, 0:20] = 1.0

    def encode_image(self, image_rgb: np.ndarray) -> Features:
        return {"image": torch.from_numpy(image_rgb.copy())[None]}

    def segment(self, features: Features, queries: Sequence[Query], size_hw: tuple[int, int]) -> Prediction:
        labels = [query.label for query in queries]
        presence = torch.tensor([{"squares": 0.9, "nothing": 0.1}.get(label, 0.8) for label in labels])
        return Prediction(torch.stack([self.maps[label] for label in labels]), presence, torch.ones(len(labels)))
