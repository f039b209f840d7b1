"""The boxes to segment in an image: human boxes, boxes of referring phrases, and additional boxes of a detector."""

import gzip
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from promptseg.data.merge_annotations import box_iou
from promptseg.data.sample import Box, rle_box_xyxy
from promptseg.errors import DataError
from promptseg.language.phrases import canonical, may_name_same

Source = Literal["human-box", "region", "teacher-box", "single-object"]

# At this score about half of the boxes of a detector trained on the same names are right.
MIN_TEACHER_SCORE = 0.30
# Least score of another name for one box, as a share of the first: "motorcycle" .16 beside "bicycle" .35 is wrong.
MIN_SHARE_OF_TOP_SCORE = 0.6
SAME_PLACE_IOU = 0.85
# Pixels; a smaller object has no visible shape.
MIN_BOX_AREA = 40
SAME_OBJECT_IOU = 0.5


@dataclass(frozen=True)
class TeacherBox:
    """A detector's box, with its score and name."""

    box_xyxy: Box
    score: float
    name: str


@dataclass(frozen=True)
class Proposal:
    """A box to segment, and its names.

    Attributes:
        box_xyxy: The box, pixels, inside the image.
        category: The name, or the whole referring phrase of a region.
        source: Where the box comes from.
        names: All names of the box, the best first; only a detector gives more than one.
        name_scores: The detector's score of each name; empty for human annotation.
    """

    box_xyxy: Box
    category: str
    source: Source
    names: tuple[str, ...]
    name_scores: tuple[float, ...] = ()


def load_teacher_boxes(path: Path) -> dict[str, tuple[TeacherBox, ...]]:
    """Load a detector's boxes by image: gzipped JSONL of {"image", "boxes": [[x0, y0, x1, y1, score, name], ...]}.

    Raises:
        DataError: The file can't be read, or a line is malformed; the message names the file and the line.
    """
    boxes: dict[str, tuple[TeacherBox, ...]] = {}
    try:
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            for line in lines:
                record = json.loads(line)
                boxes[record["image"]] = tuple(
                    TeacherBox((float(x0), float(y0), float(x1), float(y1)), float(score), str(name))
                    for x0, y0, x1, y1, score, name in record["boxes"]
                )
    except (OSError, EOFError, ValueError, TypeError, KeyError) as error:
        raise DataError(f"{path}, after {len(boxes)} images: not a file of teacher boxes ({error!r})") from error
    return boxes


def propose(
    record: Mapping[str, Any], teacher_boxes: Sequence[TeacherBox] = (), *, exhaustive: frozenset[str] = frozenset()
) -> list[Proposal]:
    """List the boxes to segment in an image.

    Human boxes are used only if the image has no masks. A detector's box is used if it adds an object. It is not used
    if people annotated the same object under a name that may mean the same, nor if its name is annotated completely:
    then it is a duplicate or wrong. In an image of one named object, a box over the center is used only if its name may
    mean that object, because detectors often misname single objects ("hippopotamus" for a fish).

    Args:
        record: Record of the index.
        teacher_boxes: A detector's boxes of this image.
        exhaustive: Names that are annotated completely in this image.
    """
    size_hw = (record["height"], record["width"])
    proposals = [_region(item) for item in record.get("regions", ())]
    if not record.get("masks"):
        proposals += [_human(item) for item in record.get("boxes", ())]
    proposals = [clipped for proposal in proposals if (clipped := _clip(proposal, size_hw)) is not None]
    known = [(item["category"], tuple(item["box_xyxy"])) for item in record.get("boxes", ())]
    known += [(item["category"], rle_box_xyxy(item["rle"])) for item in record.get("masks", ())]
    complete = {canonical(name) for name in exhaustive}
    single_names = record["tags"] if record.get("single_object") else None
    accepted = [
        box
        for box in teacher_boxes
        if canonical(box.name) not in complete
        and (single_names is None or _fits_single_object(box, single_names, size_hw))
    ]
    for proposal in group_teacher_boxes(accepted):
        clipped = _clip(proposal, size_hw)
        if clipped is not None and not _is_known(clipped, known):
            proposals.append(clipped)
    return proposals


def group_teacher_boxes(teacher_boxes: Iterable[TeacherBox]) -> list[Proposal]:
    """Merge a detector's boxes of one place into one proposal with all names, the highest score first."""
    groups: list[list[TeacherBox]] = []
    for box in sorted(teacher_boxes, key=lambda box: -box.score):
        if box.score < MIN_TEACHER_SCORE:
            break
        group = next((group for group in groups if box_iou(group[0].box_xyxy, box.box_xyxy) >= SAME_PLACE_IOU), None)
        if group is None:
            groups.append([box])
        elif box.score >= MIN_SHARE_OF_TOP_SCORE * group[0].score:
            group.append(box)
    return [
        Proposal(
            box_xyxy=group[0].box_xyxy,
            category=group[0].name,
            source="teacher-box",
            names=tuple(box.name for box in group),
            name_scores=tuple(box.score for box in group),
        )
        for group in groups
    ]


def _human(item: Mapping[str, Any]) -> Proposal:
    return Proposal(tuple(item["box_xyxy"]), item["category"], "human-box", (item["category"],))


def _region(item: Mapping[str, Any]) -> Proposal:
    return Proposal(tuple(item["box_xyxy"]), item["phrase"], "region", (item["phrase"],))


def _clip(proposal: Proposal, size_hw: tuple[int, int]) -> Proposal | None:
    """Clip a box to the image; None where too little is left."""
    height, width = size_hw
    x0, y0, x1, y1 = proposal.box_xyxy
    box_xyxy = (max(x0, 0.0), max(y0, 0.0), min(x1, float(width)), min(y1, float(height)))
    sides = (box_xyxy[2] - box_xyxy[0], box_xyxy[3] - box_xyxy[1])
    if min(sides) < 1 or sides[0] * sides[1] < MIN_BOX_AREA:
        return None
    return replace(proposal, box_xyxy=box_xyxy)


def _fits_single_object(box: TeacherBox, names: Sequence[str], size_hw: tuple[int, int]) -> bool:
    x0, y0, x1, y1 = box.box_xyxy
    over_center = x0 <= size_hw[1] / 2 <= x1 and y0 <= size_hw[0] / 2 <= y1
    return not over_center or any(may_name_same(box.name, name) for name in names)


def _is_known(proposal: Proposal, known: Sequence[tuple[str, Box]]) -> bool:
    """Return whether people annotated that object, by name and overlap, or by a nearly identical box of any name."""
    return any(
        (iou := box_iou(proposal.box_xyxy, box_xyxy)) >= SAME_PLACE_IOU
        or (iou >= SAME_OBJECT_IOU and may_name_same(proposal.category, name))
        for name, box_xyxy in known
    )
