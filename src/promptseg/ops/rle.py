"""COCO run-length encoding, the form in which masks are kept and travel in JSON."""

from typing import TypedDict

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask


class Rle(TypedDict):
    """A mask in COCO's compressed form: column-major runs, `counts` as text; size is (height, width)."""

    size: list[int]
    counts: str


def encode_rle(mask: NDArray[np.bool_]) -> Rle:
    """Encode a mask, bool, shape (H, W)."""
    encoded = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
    return Rle(size=[int(side) for side in encoded["size"]], counts=encoded["counts"].decode("ascii"))


def decode_rle(rle: Rle) -> NDArray[np.bool_]:
    """Decode to a mask, bool, shape (H, W)."""
    mask: NDArray[np.uint8] = coco_mask.decode({"size": rle["size"], "counts": rle["counts"].encode("ascii")})
    return mask.astype(np.bool_)


def rle_area(rle: Rle) -> int:
    """Count the pixels of a mask without decoding it."""
    return int(coco_mask.area({"size": rle["size"], "counts": rle["counts"].encode("ascii")}))


def place_rle(rle: Rle, box_xyxy: tuple[int, int, int, int], size_hw: tuple[int, int]) -> Rle:
    """Turn the code of a box into that of the whole picture, where all outside the box is empty.

    Args:
        rle: Of the box, of the size (bottom - top, right - left).
        box_xyxy: Whole pixels, right and bottom exclusive, inside the picture.
        size_hw: Height and width of the picture.
    """
    height, width = size_hw
    left, top, right, bottom = box_xyxy
    columns = np.zeros((right - left, height), dtype=np.bool_)
    columns[:, top:bottom] = decode_rle(rle).T
    changes = np.flatnonzero(np.diff(columns.ravel(), prepend=False, append=False)) + left * height
    # A mask that reaches the last pixel changes at its end, after which there is no run.
    runs = np.diff(changes[changes < height * width], prepend=0, append=height * width)
    encoded = coco_mask.frPyObjects({"size": [height, width], "counts": runs.tolist()}, height, width)
    return Rle(size=[height, width], counts=encoded["counts"].decode("ascii"))
