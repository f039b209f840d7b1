"""A model that a process of its own can load, and that ends that process at a certain image."""

import os
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image

from promptseg.batch.sources import BatchImage, list_sources
from promptseg.images import DEFAULT_LIMITS
from promptseg.prompts import Query, QueryLike, to_queries
from promptseg.results import QueryResult, Segmentation

DEADLY_SIDE = 13
"""Side of the image, pixels, that ends the process as a lack of memory does."""


class FragilePredictor:
    """Finds the bright pixels in so many seconds; the system kills it where an image is deadly."""

    name, fingerprint, engine, device = "fragile", "0123", "openvino", "cpu"
    presence_threshold, loader, limits, origin = 0.5, None, DEFAULT_LIMITS, "fragile 0123, present from 0.5"

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds

    def check_queries(self, queries: QueryLike | Iterable[QueryLike]) -> tuple[Query, ...]:
        return to_queries(queries)

    def segment(self, image: bytes, queries: tuple[Query, ...]) -> Segmentation:
        from promptseg.images import read_image

        image_rgb = read_image(image)
        time.sleep(self.seconds)
        if image_rgb.shape[0] == DEADLY_SIDE:
            os._exit(137)
        logits = image_rgb[..., 0].astype(np.float32) - 127.5
        size_hw = image_rgb.shape[0], image_rgb.shape[1]
        results = tuple(QueryResult(query.label, 0.9, logits, size_hw, 0.5, 0.5) for query in queries)
        return Segmentation(image_rgb, results, self.name, 0.5, 0.5, fingerprint=self.fingerprint)


def draw_images(folder: Path, sides: tuple[int, ...]) -> list[BatchImage]:
    """Draw a bright square on black, each in an image of its own side, and list them."""
    folder.mkdir(parents=True, exist_ok=True)
    for index, side in enumerate(sides):
        image = np.zeros((side, side, 3), dtype=np.uint8)
        image[2:6, 3:8] = 255
        Image.fromarray(image).save(folder / f"{index}.png")
    return list_sources([folder])
