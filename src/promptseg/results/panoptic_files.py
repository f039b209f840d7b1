"""The files of a saved panoptic map: `panoptic-overlay.png`, `panoptic.png`, `semantic.png` and `panoptic.json`."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from promptseg.errors import DataError
from promptseg.ops.atomic import atomic_file
from promptseg.ops.index_images import encode_segment_ids, to_index_image

PANOPTIC_SCHEMA = "promptseg/panoptic-1"
PANOPTIC_FILE = "panoptic.json"


def read_panoptic_file(directory: Path) -> dict[str, Any]:
    """Read `panoptic.json`.

    Raises:
        DataError: It is missing, or was not written by `Panoptic.save`; the message names it.
    """
    path = directory / PANOPTIC_FILE
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: can't be read: {error}") from error
    if not isinstance(document, dict) or document.get("schema") != PANOPTIC_SCHEMA:
        raise DataError(f"{path}: not a map that Panoptic.save wrote (schema {PANOPTIC_SCHEMA!r})")
    return document


def write_panoptic_files(
    directory: Path,
    document: dict[str, Any],
    segment_ids: NDArray[np.int32],
    semantic: NDArray[np.int32],
    overlay: Image.Image,
) -> tuple[Path, ...]:
    """Write the files of a map.

    Args:
        directory: Created if it is missing.
        document: What `Panoptic.to_dict` returns, and more keys.
        segment_ids: Shape (H, W), 0 for none.
        semantic: Shape (H, W), -1 for none.
        overlay: The drawn map.

    Returns:
        The files: overlay, segments, classes, JSON.

    Raises:
        OutputError: A file can't be written; the message names it.
    """
    images = {
        "panoptic-overlay.png": overlay,  # `overlay.png` is that of a `Segmentation` in the same folder
        "panoptic.png": encode_segment_ids(segment_ids),
        "semantic.png": to_index_image(semantic + 1, num_classes=len(document["classes"])),
    }
    for name, image in images.items():
        with atomic_file(directory / name) as path:
            image.save(path)
    with atomic_file(directory / PANOPTIC_FILE) as path:
        path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return *(directory / name for name in images), directory / PANOPTIC_FILE
