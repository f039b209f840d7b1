"""COCO run-length encoding, the format of masks in memory and in JSON.

pycocotools is imported inside the functions, so that the import of this module needs numpy only.
"""

from collections.abc import Sequence
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray


class Rle(TypedDict):
    """A mask in COCO's compressed form: column-major runs, `counts` as text; size is (height, width)."""

    size: list[int]
    counts: str


def encode_rle(mask: NDArray[np.bool_]) -> Rle:
    """Encode a mask, bool, shape (H, W).

    Example:
        >>> encode_rle(np.array([[False, True], [False, False]]))
        {'size': [2, 2], 'counts': '211'}
    """
    from pycocotools import mask as coco_mask

    encoded = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
    return Rle(size=[int(side) for side in encoded["size"]], counts=encoded["counts"].decode("ascii"))


def decode_rle(rle: Rle) -> NDArray[np.bool_]:
    """Decode a code to a mask, bool, shape (H, W).

    Raises:
        ValueError: The code is malformed, or holds more or fewer pixels than its size.
    """
    from pycocotools import mask as coco_mask

    check_rle(rle)  # pycocotools leaves pixels that a short code does not cover uninitialized
    mask: NDArray[np.uint8] = coco_mask.decode({"size": rle["size"], "counts": rle["counts"].encode("ascii")})
    return mask.astype(np.bool_)


def coco_rle(segmentation: Any, size_hw: tuple[int, int]) -> Rle:
    """Convert the value of "segmentation" in COCO's JSON.

    Args:
        segmentation: Polygons, whose union is the mask, or a run-length code, compressed or as numbers.
        size_hw: Height and width of the image, pixels.

    Raises:
        ValueError: The value is neither, or has another size.
    """
    from pycocotools import mask as coco_mask

    try:
        if isinstance(segmentation, dict):
            (height, width), counts = map(int, segmentation["size"]), segmentation["counts"]
        elif _are_polygons(segmentation):
            (height, width) = size_hw
            _check_reach(segmentation, size_hw)
            counts = coco_mask.merge(coco_mask.frPyObjects(segmentation, height, width))["counts"]
        else:
            raise ValueError("neither polygons nor a run-length code")
        if isinstance(counts, list):
            counts = coco_mask.frPyObjects({"size": [height, width], "counts": counts}, height, width)["counts"]
        counts = counts.decode("ascii") if isinstance(counts, bytes) else counts
        if (height, width) != size_hw:
            raise ValueError(f"the mask is {(height, width)} (height, width), its image {size_hw}")
        rle = Rle(size=[height, width], counts=counts)
        check_rle(rle)
    except (TypeError, KeyError, AttributeError, OverflowError) as error:
        raise ValueError(f"neither polygons nor a run-length code ({error!r})") from error
    return rle


def merge_rles(rles: Sequence[Rle]) -> Rle:
    """Unite one or more masks without decoding them.

    Raises:
        ValueError: The sizes differ, or a code is malformed, or holds more or fewer pixels than its size.
    """
    from pycocotools import mask as coco_mask

    if len(sizes := {tuple(rle["size"]) for rle in rles}) > 1:
        raise ValueError(f"masks of several sizes, (height, width): {sorted(sizes)}")
    for rle in rles:
        check_rle(rle)  # pycocotools loops forever on a short code
    merged = coco_mask.merge([{"size": rle["size"], "counts": rle["counts"].encode("ascii")} for rle in rles])
    return Rle(size=[int(side) for side in merged["size"]], counts=merged["counts"].decode("ascii"))


def rle_area(rle: Rle) -> int:
    """Count the pixels of a mask without decoding it."""
    from pycocotools import mask as coco_mask

    return int(coco_mask.area({"size": rle["size"], "counts": rle["counts"].encode("ascii")}))


def place_rle(rle: Rle, box_xyxy: tuple[int, int, int, int], size_hw: tuple[int, int]) -> Rle:
    """Convert the code of a box to the code of the whole image; outside the box the mask is empty.

    Args:
        rle: Code of the box, of the size (bottom - top, right - left).
        box_xyxy: Whole pixels, right and bottom exclusive, inside the image.
        size_hw: Height and width of the image, pixels.
    """
    from pycocotools import mask as coco_mask

    height, width = size_hw
    left, top, right, bottom = box_xyxy
    columns = np.zeros((right - left, height), dtype=np.bool_)
    columns[:, top:bottom] = decode_rle(rle).T
    changes = np.flatnonzero(np.diff(columns.ravel(), prepend=False, append=False)) + left * height
    # a mask that includes the last pixel changes after it, where no run follows
    runs = np.diff(changes[changes < height * width], prepend=0, append=height * width)
    encoded = coco_mask.frPyObjects({"size": [height, width], "counts": runs.tolist()}, height, width)
    return Rle(size=[height, width], counts=encoded["counts"].decode("ascii"))


def _are_polygons(segmentation: Any) -> bool:
    """Test whether these are lists of x, y, x, y, ...; pycocotools reads four numbers as a box x, y, width, height."""
    return (
        isinstance(segmentation, list)
        and len(segmentation) > 0
        and all(isinstance(polygon, list) and len(polygon) >= 4 and len(polygon) % 2 == 0 for polygon in segmentation)
        and all(isinstance(number, int | float) for polygon in segmentation for number in polygon)
    )


def _check_reach(polygons: list[list[float]], size_hw: tuple[int, int]) -> None:
    """Refuse corners that are not finite or far outside: pycocotools draws every pixel of an edge, even those there.

    Raises:
        ValueError: A corner is further outside than ten times the sides of the image.
    """
    limit = 10 * sum(size_hw)
    for number in (number for polygon in polygons for number in polygon):
        if not -limit <= number <= limit:
            raise ValueError(f"a polygon with a corner at {number:g}, far outside its image of {size_hw} (H, W)")


def check_rle(rle: Rle) -> None:
    """Check that a code holds as many pixels as its size, without decoding it.

    Raises:
        ValueError: It holds more or fewer, or is malformed.
    """
    height, width = rle["size"]
    if (num_pixels := _count_pixels(rle["counts"])) != height * width:
        raise ValueError(f"a run-length code of {num_pixels:,} pixels, expected {height} x {width}")


def _count_pixels(counts: str) -> int:
    """Sum the runs of a compressed code: five bits per character, lowest first; bit 32 is set if more follow.

    From the fourth run on, the code holds the difference from the run before the previous one.

    Raises:
        ValueError: The code ends early, or has a run that is too long.
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
