"""Annotated images and their phrases.

Sample   an image, its annotated names and phrases (targets), and knowledge about other phrases
Target   one phrase with all its instances in one image: masks, or boxes if there are no masks

Masks are kept as COCO run-length codes (`Rle`) until pixels are needed.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args, overload

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from promptseg.errors import DataError
from promptseg.ops.rle import Rle, decode_rle, encode_rle, merge_rles, rle_area

Box = tuple[float, float, float, float]
Kind = Literal["thing", "stuff", "part", "phrase"]
Evidence = Literal["mask", "box", "tag"]
Mask = NDArray[np.bool_]

KINDS: tuple[str, ...] = get_args(Kind)


@dataclass(frozen=True)
class Target:
    """One phrase and every instance of it in one image.

    Attributes:
        phrase: The phrase of the annotation, normalized.
        kind: Kind of phrase: a countable thing, stuff, a part of something, or a whole referring phrase.
        masks: One run-length code per instance or region.
        boxes_xyxy: One box per instance, pixels; empty if there are masks.
        void: Regions where it is unknown whether the phrase applies: trimap borders, crowds, boxes without a mask.
        alternatives: Other wordings in the annotation for exactly this target.
        source: "human", or the name of the process that generated the masks.
        score: Mean confidence of that process, in [0, 1]; 1 for human annotations.
        category: Class of the annotation, in its own spelling ("pottedplant"); "" if it has none.
    """

    phrase: str
    kind: Kind = "thing"
    masks: tuple[Rle, ...] = ()
    boxes_xyxy: tuple[Box, ...] = ()
    void: tuple[Rle, ...] = ()
    alternatives: tuple[str, ...] = ()
    source: str = "human"
    score: float = 1.0
    category: str = ""

    @property
    def evidence(self) -> Evidence:
        """How precisely the position is known: "mask", "box", or "tag" (unknown position in the image)."""
        if self.masks:
            return "mask"
        return "box" if self.boxes_xyxy else "tag"


@dataclass(frozen=True)
class Sample:
    """An image and its annotations.

    Attributes:
        sample_id: Unique id in its data set, such as the path of the image relative to the data directory.
        image: The image file, or its encoded bytes.
        size_hw: Height and width, pixels; all masks and boxes refer to these pixels.
        targets: One target per distinct phrase; in referring benchmarks one per query, where a phrase may occur twice.
        absent: Phrases to query that are known to be absent from the image.
        exhaustive: Names annotated completely: if such a name is not among the targets, it is absent from the image.
        captions: Captions of the image.
        dataset: Name of the data set.
        license: License of the image, if it is known.
        single_object: The image shows one object, named by its only tag.
        coco_id: Image id in COCO, if the image comes from there.
        sequence: Video that the image was taken from.
    """

    sample_id: str
    image: Path | bytes
    size_hw: tuple[int, int]
    targets: tuple[Target, ...] = ()
    absent: tuple[str, ...] = ()
    exhaustive: frozenset[str] = frozenset()
    captions: tuple[str, ...] = ()
    dataset: str = ""
    license: str | None = None
    single_object: bool = False
    coco_id: int | None = None
    sequence: str | None = None

    def with_evidence(self, evidence: Evidence) -> tuple[Target, ...]:
        """Return the targets whose position is known with this precision."""
        return tuple(target for target in self.targets if target.evidence == evidence)


@dataclass(frozen=True)
class Problem:
    """Something in the data that was left out.

    Attributes:
        where: Its place, such as a file and line.
        what: The reason.
        is_failure: It should have counted: an annotated image, or its mask, that can't be used.
    """

    where: str
    what: str
    is_failure: bool = False

    @classmethod
    def from_error(cls, path: Path, error: Exception) -> "Problem":
        """Describe a file that can't be read; the message need not name it again."""
        return cls(str(path), str(error).removeprefix(f"{path}: "), is_failure=True)

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


@dataclass(frozen=True)
class SampleSet(Sequence[Sample]):
    """The samples of one data set, and everything that was left out of it.

    Attributes:
        samples: The samples.
        problems: Everything that was left out, with the reasons.
    """

    samples: tuple[Sample, ...]
    problems: tuple[Problem, ...] = field(default=())

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Sample]: ...
    def __getitem__(self, index: int | slice) -> Sample | Sequence[Sample]:
        return self.samples[index]

    def __len__(self) -> int:
        return len(self.samples)

    def __iter__(self) -> Iterator[Sample]:
        return iter(self.samples)


def encode_box(box_xyxy: Box, size_hw: tuple[int, int]) -> Rle:
    """Encode a filled box, pixels, as a mask of an image of that size."""
    x0, y0, x1, y1 = (round(corner) for corner in box_xyxy)
    mask = np.zeros(size_hw, dtype=bool)
    mask[y0:y1, x0:x1] = True
    return encode_rle(mask)


def decode_masks(rles: Sequence[Rle], size_hw: tuple[int, int]) -> Mask:
    """Decode N run-length codes to masks, bool, shape (N, H, W), with (H, W) = size_hw.

    Raises:
        DataError: A code is malformed, or has another size.
    """
    masks = np.zeros((len(rles), *size_hw), dtype=bool)
    for index, rle in enumerate(rles):
        if tuple(rle["size"]) != size_hw:
            raise DataError(f"mask {index} is of size {tuple(rle['size'])} (height, width), expected {size_hw}")
        masks[index] = _decode(rle, index)
    return masks


def union_mask(rles: Sequence[Rle], size_hw: tuple[int, int]) -> Mask:
    """Decode the union of run-length codes, bool, shape (H, W); empty if there are none.

    Raises:
        DataError: A code is malformed, or has another size.
    """
    return np.asarray(decode_masks(rles, size_hw).any(axis=0))


def union_rle(rles: Sequence[Rle]) -> Rle:
    """Join one or more run-length codes of equal size without decoding them.

    Raises:
        DataError: A code is malformed, or has another size.
    """
    if len(rles) == 1:
        return rles[0]
    try:
        return merge_rles(rles)
    except ValueError as error:
        raise DataError(f"masks can't be joined: {error}") from error


def target_mask(target: Target, size_hw: tuple[int, int]) -> Mask:
    """Decode the union of a target's instances, bool, shape (H, W); filled boxes if it has only boxes.

    Raises:
        DataError: The target has only a tag, without a position, or one of its masks is malformed.
    """
    return np.asarray(instance_masks(target, size_hw).any(axis=0))


def instance_masks(target: Target, size_hw: tuple[int, int]) -> Mask:
    """Decode one mask per instance, bool, shape (N, H, W); filled boxes if the target has only boxes.

    Raises:
        DataError: The target has only a tag, without a position, or one of its masks is malformed.
    """
    if target.evidence == "tag":
        raise DataError(f"'{target.phrase}' is only known to be in the image, not where")
    rles = target.masks or tuple(encode_box(box_xyxy, size_hw) for box_xyxy in target.boxes_xyxy)
    return decode_masks(rles, size_hw)


def ignore_mask(target: Target, size_hw: tuple[int, int]) -> Mask:
    """Decode the region where it is unknown whether the phrase applies, bool, shape (H, W), without `target_mask`."""
    if not target.void:
        return np.zeros(size_hw, dtype=bool)
    void = union_mask(target.void, size_hw)
    return void & ~union_mask(target.masks, size_hw)


def instance_boxes(target: Target) -> tuple[Box, ...]:
    """Return one box per instance, (x0, y0, x1, y1) in pixels: those around the masks, else the annotated ones."""
    return tuple(rle_box_xyxy(rle) for rle in target.masks) if target.masks else target.boxes_xyxy


def instance_areas(target: Target) -> tuple[float, ...]:
    """Compute one area per instance, in pixels: that of its mask, else that of its box."""
    if target.masks:
        return tuple(float(rle_area(rle)) for rle in target.masks)
    return tuple((x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in target.boxes_xyxy)


def rle_box_xyxy(rle: Rle) -> Box:
    """Compute the box around a mask, (x0, y0, x1, y1) in pixels."""
    x, y, width, height = (float(value) for value in coco_mask.toBbox(_coco(rle)))
    return (x, y, x + width, y + height)


def _coco(rle: Rle) -> dict[str, Any]:
    return {"size": list(rle["size"]), "counts": rle["counts"].encode("ascii")}


def _decode(rle: Rle, index: int) -> Mask:
    try:
        return decode_rle(rle)
    except ValueError as error:
        raise DataError(f"mask {index}: malformed run-length code ({error})") from error
