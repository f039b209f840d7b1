"""COCO run-length encoding, the form in which masks are kept and travel in JSON."""

from collections.abc import Sequence
from typing import Any, TypedDict

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
    """Decode to a mask, bool, shape (H, W).

    Raises:
        ValueError: The code is malformed, or of more or fewer pixels than its size.
    """
    _check_length(rle)  # pycocotools leaves what a short code does not cover as it finds it in memory
    mask: NDArray[np.uint8] = coco_mask.decode({"size": rle["size"], "counts": rle["counts"].encode("ascii")})
    return mask.astype(np.bool_)


def coco_rle(segmentation: Any, size_hw: tuple[int, int]) -> Rle:
    """Make a mask of what stands under "segmentation" in COCO's JSON.

    Args:
        segmentation: Polygons, of which the union is meant, or a run-length code, compressed or as numbers.
        size_hw: Height and width of the image.

    Raises:
        ValueError: It is none of these.
    """
    try:
        if isinstance(segmentation, dict):
            (height, width), counts = map(int, segmentation["size"]), segmentation["counts"]
        elif _are_polygons(segmentation):
            (height, width) = size_hw
            counts = coco_mask.merge(coco_mask.frPyObjects(segmentation, height, width))["counts"]
        else:
            raise ValueError("neither polygons nor a run-length code")
        if isinstance(counts, list):
            counts = coco_mask.frPyObjects({"size": [height, width], "counts": counts}, height, width)["counts"]
        counts = counts.decode("ascii") if isinstance(counts, bytes) else counts
        if (height, width) != size_hw:
            raise ValueError(f"the mask is {(height, width)} (height, width), its image {size_hw}")
        rle = Rle(size=[height, width], counts=counts)
        _check_length(rle)
    except (TypeError, KeyError, AttributeError, OverflowError) as error:
        raise ValueError(f"neither polygons nor a run-length code ({error!r})") from error
    return rle


def merge_rles(rles: Sequence[Rle]) -> Rle:
    """Join codes, at least one of them, without decoding them.

    Raises:
        ValueError: They are of several sizes, or one is malformed, or of more or fewer pixels than its size.
    """
    if len(sizes := {tuple(rle["size"]) for rle in rles}) > 1:
        raise ValueError(f"masks of several sizes, (height, width): {sorted(sizes)}")
    for rle in rles:
        _check_length(rle)  # pycocotools goes round for ever in a short code
    merged = coco_mask.merge([{"size": rle["size"], "counts": rle["counts"].encode("ascii")} for rle in rles])
    return Rle(size=[int(side) for side in merged["size"]], counts=merged["counts"].decode("ascii"))


def rle_area(rle: Rle) -> int:
    """Count the pixels of a mask without decoding it."""
    return int(coco_mask.area({"size": rle["size"], "counts": rle["counts"].encode("ascii")}))


def place_rle(rle: Rle, box_xyxy: tuple[int, int, int, int], size_hw: tuple[int, int]) -> Rle:
    """Turn the code of a box into that of the whole image, where all outside the box is empty.

    Args:
        rle: Of the box, of the size (bottom - top, right - left).
        box_xyxy: Whole pixels, right and bottom exclusive, inside the image.
        size_hw: Height and width of the image.
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


def _are_polygons(segmentation: Any) -> bool:
    """Whether these are lists of x, y, x, y, ...; four numbers are a box to pycocotools, x, y, width, height."""
    return (
        isinstance(segmentation, list)
        and len(segmentation) > 0
        and all(isinstance(polygon, list) and len(polygon) >= 4 and len(polygon) % 2 == 0 for polygon in segmentation)
        and all(isinstance(number, int | float) for polygon in segmentation for number in polygon)
    )


def _check_length(rle: Rle) -> None:
    height, width = rle["size"]
    if (num_pixels := _count_pixels(rle["counts"])) != height * width:
        raise ValueError(f"a run-length code of {num_pixels:,} pixels, expected {height} x {width}")


def _count_pixels(counts: str) -> int:
    """Sum the runs of a compressed code: five bits a character, the lowest first, 32 says that more follow.

    From the fourth on, a run is written as its difference from the last but one.
    """
    characters = np.frombuffer(counts.encode("ascii"), dtype=np.uint8).astype(np.int64) - 48
    stops = np.flatnonzero(characters & 32 == 0) + 1
    if not len(stops) or stops[-1] != len(characters):
        raise ValueError("a run-length code that breaks off")
    lengths = np.diff(stops, prepend=0)
    if lengths.max() > 12:
        raise ValueError("a run-length code with a run beyond all images")
    starts = stops - lengths
    place = np.arange(len(characters)) - np.repeat(starts, lengths)
    runs = np.add.reduceat((characters & 31) << 5 * place, starts)
    runs -= np.where(characters[stops - 1] & 16, 1 << 5 * lengths, 0)
    return int(runs[0] + np.cumsum(runs[1::2]).sum() + np.cumsum(runs[2::2]).sum())
