"""A tiny world for evaluation tests: images of flat colors, and a segmenter that really looks for colors."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from promptseg.images import read_image
from promptseg.ops.rle import encode_rle
from promptseg.results import QueryResult

COLORS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255), "gray": (128, 128, 128)}
PRESENCE_THRESHOLD = 0.3
SIZE_HW = (10, 10)


def block(top, left, bottom, right):
    """A filled rectangle as a mask of a 10x10 image."""
    mask = np.zeros(SIZE_HW, dtype=bool)
    mask[top:bottom, left:right] = True
    return mask


def paint(path: Path, areas: dict[str, np.ndarray]) -> Path:
    """Save a gray image with colored areas."""
    image_rgb = np.full((*SIZE_HW, 3), 128, dtype=np.uint8)
    for color, mask in areas.items():
        image_rgb[mask] = COLORS[color]
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image_rgb).save(path)
    return path


@dataclass(frozen=True)
class ColorSegmenter:
    """Finds colors by name: probability .9 where a pixel has it, else .1; presence is its number of pixels / 50."""

    def encode(self, image: Path | bytes) -> np.ndarray:
        return read_image(image)

    def segment(self, embedding: np.ndarray, phrases: Sequence[str]) -> list[QueryResult]:
        found = [(embedding == COLORS[phrase]).all(axis=-1) for phrase in phrases]
        confident = np.log(9.0)
        return [
            QueryResult(
                label=phrase,
                presence=min(0.99, float(mask.sum()) / 50),
                mask_logits=np.where(mask, confident, -confident).astype(np.float32),
                size_hw=embedding.shape[:2],
                presence_threshold=PRESENCE_THRESHOLD,
                mask_threshold=0.5,
            )
            for phrase, mask in zip(phrases, found, strict=True)
        ]


def index_record(image: str, masks: dict[str, np.ndarray]) -> dict[str, object]:
    """One record of a JSONL index, whose names red, green and blue are annotated completely."""
    return {
        "image": image,
        "width": SIZE_HW[1],
        "height": SIZE_HW[0],
        "exhaustive": "red, green, blue",
        "masks": [
            {"category": phrase, "rle": encode_rle(mask), "kind": "thing", "iscrowd": False}
            for phrase, mask in masks.items()
        ],
    }


def write_indexes(data_dir: Path, *names: str) -> None:
    """Write an index of four images for each name: red is painted as annotated, green only in part."""
    for name in names:
        records = []
        for number in range(4):
            red, green = block(0, 0, 4 + number, 6), block(8, 0, 10, 2 + number)
            image = f"{name}/{number}.png"
            paint(data_dir / image, {"red": red, "green": green})
            records.append(index_record(image, {"red": red, "green": block(8, 0, 10, 4)}))
        (data_dir / f"{name}.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
