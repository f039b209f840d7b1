"""Small data directories in the real layouts, written by the tests that read them."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from promptseg.ops.rle import Rle, encode_rle

SIZE_HW = (24, 32)


def write_image(path: Path, size_hw: tuple[int, int] = SIZE_HW) -> Path:
    """Write a gray image; its suffix chooses the format."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (size_hw[1], size_hw[0]), (90, 120, 150)).save(path)
    return path


def box_mask(x0: int, y0: int, x1: int, y1: int, size_hw: tuple[int, int] = SIZE_HW) -> np.ndarray:
    """A bool mask that is one filled box."""
    mask = np.zeros(size_hw, dtype=bool)
    mask[y0:y1, x0:x1] = True
    return mask


def box_rle(x0: int, y0: int, x1: int, y1: int, size_hw: tuple[int, int] = SIZE_HW) -> Rle:
    """The same, encoded."""
    return encode_rle(box_mask(x0, y0, x1, y1, size_hw))


def write_mask(path: Path, mask: np.ndarray) -> Path:
    """Write a mask as a black and white image."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(mask.astype(np.uint8) * 255).save(path)
    return path


def write_index(data_dir: Path, name: str, records: Sequence[Mapping[str, Any]]) -> Path:
    """Write NAME.jsonl, with an image for each record; a record needs only what is particular to it."""
    lines = []
    for number, record in enumerate(records):
        image = record.get("image", f"{name}/image_{number}.webp")
        write_image(data_dir / image)
        lines.append(json.dumps({"image": image, "width": SIZE_HW[1], "height": SIZE_HW[0], **record}))
    path = data_dir / f"{name}.jsonl"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path
