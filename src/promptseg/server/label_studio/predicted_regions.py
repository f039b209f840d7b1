"""Segment what is asked for, and write the objects as regions of Label Studio."""

import secrets
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from pydantic import BaseModel

from promptseg.formats.labelstudio import to_region
from promptseg.ops.polygons import TOLERANCE
from promptseg.prompts import Prompt, Query, TextPrompt
from promptseg.results import Instance
from promptseg.sam.overlap import suppress_instances
from promptseg.server.core.turn import Turn
from promptseg.server.label_studio.labeling_interface import Control, LabelingInterface
from promptseg.server.wire.read_queries import check_num_queries

# Two phrases of one label find the same object if their masks overlap by more, as IoU.
SAME_OBJECT_IOU = 0.7


class PredictedRegion(BaseModel):
    """One object: a brush stroke, a polygon or a rectangle."""

    id: str
    type: str
    from_name: str
    to_name: str
    original_width: int
    original_height: int
    image_rotation: int
    score: float
    value: dict[str, Any]


@dataclass(frozen=True)
class AskedObject:
    """What to find.

    Attributes:
        control: The tag that gets the regions.
        label: Their label.
        make_prompts: Gives the prompts for a picture of this height and width, pixels.
    """

    control: Control
    label: str
    make_prompts: Callable[[tuple[int, int]], tuple[Prompt, ...]]


@dataclass(frozen=True)
class Question:
    """What to find in one picture of a task, and the field of the task that has it."""

    field: str
    objects: tuple[AskedObject, ...]


def all_labels(interface: LabelingInterface) -> tuple[Question, ...]:
    """Ask for every phrase of every label, in each picture of a task."""
    images = dict.fromkeys(control.image for control in interface.controls)
    return tuple(
        Question(
            interface.fields[image],
            tuple(
                AskedObject(control, label, partial(_phrase_prompt, phrase))
                for control in interface.controls
                if control.image == image
                for label, phrases in control.phrases.items()
                for phrase in phrases
            ),
        )
        for image in images
    )


def _phrase_prompt(phrase: str, _: tuple[int, int]) -> tuple[Prompt, ...]:
    return (TextPrompt(phrase),)


def find_regions(turn: Turn, image_id: str, question: Question, *, max_queries: int) -> list[PredictedRegion]:
    """Segment a stored picture.

    Args:
        turn: Of the request.
        image_id: The picture.
        question: What to find.
        max_queries: The limit of the server.

    Raises:
        PromptsegError: As `Turn.segment`; or there are too many queries.
    """
    check_num_queries(len(question.objects), limit=max_queries)
    size_hw = turn.open(image_id).size_hw
    by_threshold: dict[float | None, list[AskedObject]] = defaultdict(list)
    for each in question.objects:
        by_threshold[each.control.threshold].append(each)
    found: dict[tuple[str, str], tuple[Control, list[Instance]]] = {}
    for threshold, alike in by_threshold.items():
        queries = [Query(each.label, each.make_prompts(size_hw)) for each in alike]
        for each, result in zip(alike, turn.segment(image_id, queries, threshold=threshold), strict=True):
            _, instances = found.setdefault((each.control.name, each.label), (each.control, []))
            if result.is_present:
                instances.extend(result.instances)
    with turn.timed("masks"):
        return [region for (_, label), (control, each) in found.items() for region in _write(control, label, each)]


def _write(control: Control, label: str, instances: Sequence[Instance]) -> Iterator[PredictedRegion]:
    """Write the objects of a label, each once."""
    scores = [instance.score for instance in instances]
    for index in suppress_instances(instances, scores, iou_threshold=SAME_OBJECT_IOU).tolist():
        region = to_region(
            instances[index],
            label,
            kind=control.kind,
            # by chance: the regions of an earlier answer may stay in the annotation
            region_id=secrets.token_urlsafe(8),
            from_name=control.name,
            to_name=control.image,
            tolerance=TOLERANCE,
        )
        yield PredictedRegion.model_validate(region)
