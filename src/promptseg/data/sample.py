"""One annotated image, and everything a phrase may mean in it.

Sample   an image, the names and phrases said to be in it (targets), and what is known of the rest
Target   one phrase with all its instances in one image: masks where there are masks, boxes where there are only boxes

Masks stay COCO run-length codes (`Rle`) until somebody looks at them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args, overload

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from promptseg.errors import DataError
from promptseg.ops.rle import Rle, decode_rle, encode_rle, merge_rles

Box = tuple[float, float, float, float]
Kind = Literal["thing", "stuff", "part", "phrase"]
Evidence = Literal["mask", "box", "tag"]
Mask = NDArray[np.bool_]

KINDS: tuple[str, ...] = get_args(Kind)


@dataclass(frozen=True)
class Target:
    """One phrase and every instance of it in one image.

    Attributes:
        phrase: As the annotation says it, normalized.
        kind: What sort of phrase: a countable thing, stuff, a part of something, or a whole referring phrase.
        masks: One run-length code per instance or region.
        boxes_xyxy: One box per instance, pixels; filled only where there are no masks.
        void: Regions where the phrase may or may not hold: trimap borders, crowds, boxes that have no mask yet.
        alternatives: Other wordings the annotation itself gives for exactly this target.
        source: "human", or the name of the process that made the masks.
        score: Mean confidence of that process, in [0, 1]; 1 for people.
        category: The class that the annotation files it under, spelt as there ("pottedplant"); "" where it has none.
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
        """How well the place is known: "mask", "box", or "tag" (somewhere in the image)."""
        if self.masks:
            return "mask"
        return "box" if self.boxes_xyxy else "tag"


@dataclass(frozen=True)
class Sample:
    """An image and what is known about it.

    Attributes:
        sample_id: Unique in its data set; here the image's path relative to the data directory.
        image: The image file, or its encoded bytes.
        size_hw: Height and width in pixels; all masks and boxes are in these pixels.
        targets: One per distinct phrase; in referring benchmarks one per question, where a phrase may come twice.
        absent: Phrases asked of this image that are known not to be in it.
        exhaustive: Names annotated completely: one that is not among the targets is not in the image.
        single_object: The image shows one object, named by its only tag.
        coco_id: Image id in COCO, where the image comes from there.
        sequence: The video it was taken from.
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
        """Return the targets whose place is known that well."""
        return tuple(target for target in self.targets if target.evidence == evidence)


@dataclass(frozen=True)
class Problem:
    """Something in the data that was left out, where it stands, and why."""

    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


@dataclass(frozen=True)
class SampleSet(Sequence[Sample]):
    """The samples of one reading, and everything that was left out of them; nothing is dropped in silence."""

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

    def __add__(self, other: "SampleSet") -> "SampleSet":
        return SampleSet(self.samples + other.samples, self.problems + other.problems)


def encode_box(box_xyxy: Box, size_hw: tuple[int, int]) -> Rle:
    """Encode a filled box, pixels, as a mask of an image of that size."""
    x0, y0, x1, y1 = (round(corner) for corner in box_xyxy)
    mask = np.zeros(size_hw, dtype=bool)
    mask[y0:y1, x0:x1] = True
    return encode_rle(mask)


def decode_masks(rles: Sequence[Rle], size_hw: tuple[int, int]) -> Mask:
    """Decode run-length codes to bool masks, shape (N, H, W), with (H, W) = size_hw.

    Raises:
        DataError: A code is malformed, or of another size.
    """
    masks = np.zeros((len(rles), *size_hw), dtype=bool)
    for index, rle in enumerate(rles):
        if tuple(rle["size"]) != size_hw:
            raise DataError(f"mask {index} is of size {tuple(rle['size'])} (height, width), expected {size_hw}")
        masks[index] = _decode(rle, index)
    return masks


def union_mask(rles: Sequence[Rle], size_hw: tuple[int, int]) -> Mask:
    """Decode the union of run-length codes, bool (H, W); empty when there are none."""
    return np.asarray(decode_masks(rles, size_hw).any(axis=0))


def union_rle(rles: Sequence[Rle]) -> Rle:
    """Join run-length codes of one size, at least one of them, without decoding them.

    Raises:
        DataError: A code is malformed, or of another size.
    """
    if len(rles) == 1:
        return rles[0]
    try:
        return merge_rles(rles)
    except ValueError as error:
        raise DataError(f"masks can't be joined: {error}") from error


def target_mask(target: Target, size_hw: tuple[int, int]) -> Mask:
    """Where the phrase holds: the union of its instances, bool (H, W); filled boxes where the target has only boxes.

    Raises:
        DataError: The target has no place, only a tag, or one of its masks is malformed.
    """
    return np.asarray(instance_masks(target, size_hw).any(axis=0))


def instance_masks(target: Target, size_hw: tuple[int, int]) -> Mask:
    """One mask per instance, bool (N, H, W); filled boxes where the target has only boxes.

    Raises:
        DataError: The target has no place, only a tag, or one of its masks is malformed.
    """
    if target.evidence == "tag":
        raise DataError(f"'{target.phrase}' is only known to be in the image, not where")
    rles = target.masks or tuple(encode_box(box_xyxy, size_hw) for box_xyxy in target.boxes_xyxy)
    return decode_masks(rles, size_hw)


def ignore_mask(target: Target, size_hw: tuple[int, int]) -> Mask:
    """Where nothing is known about the phrase, bool (H, W); never overlaps `target_mask`."""
    void = union_mask(target.void, size_hw)
    return void & ~union_mask(target.masks, size_hw)


def instance_boxes(target: Target) -> tuple[Box, ...]:
    """One box per instance, pixels (x0, y0, x1, y1): the given ones, or those around the masks."""
    return tuple(rle_box_xyxy(rle) for rle in target.masks) if target.masks else target.boxes_xyxy


def instance_areas(target: Target) -> tuple[float, ...]:
    """One area per instance, in pixels: of its mask, else of its box."""
    if target.masks:
        return tuple(float(coco_mask.area(_coco(rle))) for rle in target.masks)
    return tuple((x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in target.boxes_xyxy)


def rle_box_xyxy(rle: Rle) -> Box:
    """The box around a mask, pixels (x0, y0, x1, y1)."""
    x, y, width, height = (float(value) for value in coco_mask.toBbox(_coco(rle)))
    return (x, y, x + width, y + height)


def _coco(rle: Rle) -> dict[str, Any]:
    return {"size": list(rle["size"]), "counts": rle["counts"].encode("ascii")}


def _decode(rle: Rle, index: int) -> Mask:
    try:
        return decode_rle(rle)
    except ValueError as error:
        raise DataError(f"mask {index}: malformed run-length code ({error})") from error
