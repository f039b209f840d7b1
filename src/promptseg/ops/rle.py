"""COCO run-length encoding, the form in which masks travel in JSON."""

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
