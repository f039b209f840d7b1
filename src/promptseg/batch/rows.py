"""The rows of a batch: what every runner yields and every output holds."""

import hashlib
import json
from collections.abc import Sequence
from typing import TypedDict

from promptseg.batch.sources import BatchImage
from promptseg.prompts import ExemplarPrompt, MaskPrompt, Prompt, Query
from promptseg.results import QueryResult, Segmentation, Status


class Row(TypedDict):
    """One object of one image; or that a label is absent; or why an image failed.

    Keys:
        path: Id of the image; see `BatchImage`.
        sha256: Of its bytes; None: they can't be read.
        width: Of the image, pixels; None where it failed.
        height: Of the image, pixels; None where it failed.
        model: Name of the model.
        fingerprint: Identifies the checkpoint.
        label: Of the query; None where the image failed.
        presence: Probability that the label is in the image.
        is_present: Whether presence reaches the threshold.
        status: "present", "unsure" or "absent"; an unsure label has objects too.
        read_as: Name that the phrase was taken as; None: it was taken as it is.
        object: Number of the object of this label, best score first, from 0; None where the label is absent.
        score: Probability that the object is there and is what the query asked for.
        box_xyxy: Whole pixels, right and bottom exclusive.
        mask: Counts of the object's mask in COCO's compressed run-length code, of the size (height, width).
        error: Why the image failed; None: it did not.
        seconds: That the image took; the same in all its rows.
    """

    path: str
    sha256: str | None
    width: int | None
    height: int | None
    model: str
    fingerprint: str
    label: str | None
    presence: float | None
    is_present: bool | None
    status: Status | None
    read_as: str | None
    object: int | None
    score: float | None
    box_xyxy: list[int] | None
    mask: str | None
    error: str | None
    seconds: float


def rows_of(image: BatchImage, result: Segmentation, *, sha256: str, seconds: float) -> list[Row]:
    """Describe the results of an image: a row for each object, and one for each label without objects."""
    return [row for query in result for row in _rows_of_label(image, result, query, sha256, seconds)]


def error_row(
    image: BatchImage, error: str, *, model: str, fingerprint: str, sha256: str | None = None, seconds: float = 0.0
) -> Row:
    """Describe an image that failed."""
    row = _blank_row(image, model, fingerprint, sha256, seconds)
    row["error"] = " ".join(error.split())
    return row


def identify_queries(queries: Sequence[Query]) -> str:
    """Hash a request: labels, phrases, weights, coordinates and pixels."""
    digest = hashlib.sha256()
    for query in queries:
        digest.update(json.dumps([query.label, [_describe(prompt) for prompt in query.prompts]]).encode())
    return digest.hexdigest()[:16]


def _rows_of_label(
    image: BatchImage, result: Segmentation, query: QueryResult, sha256: str, seconds: float
) -> list[Row]:
    label = _blank_row(image, result.model, result.fingerprint, sha256, seconds)
    label["height"], label["width"] = result.size_hw
    label["label"] = query.label
    label["presence"] = round(query.presence, 6)
    label["is_present"] = query.is_present
    label["status"] = query.status
    label["read_as"] = query.read_as
    rows = []
    for number, instance in enumerate(query.instances):
        row = label.copy()
        row["object"] = number
        row["score"] = round(instance.score, 6)
        row["box_xyxy"] = list(instance.box_xyxy)
        row["mask"] = instance.to_rle()["counts"]
        rows.append(row)
    return rows or [label]


def _blank_row(image: BatchImage, model: str, fingerprint: str, sha256: str | None, seconds: float) -> Row:
    """Describe an image of which nothing was found yet."""
    return Row(
        path=image.id,
        sha256=sha256,
        width=None,
        height=None,
        model=model,
        fingerprint=fingerprint,
        label=None,
        presence=None,
        is_present=None,
        status=None,
        read_as=None,
        object=None,
        score=None,
        box_xyxy=None,
        mask=None,
        error=None,
        seconds=round(seconds, 4),
    )


def _describe(prompt: Prompt) -> list[object]:
    if isinstance(prompt, ExemplarPrompt):
        pixels = hashlib.sha256(prompt.image_rgb.tobytes() + prompt.foreground.tobytes()).hexdigest()
        return [prompt.kind, list(prompt.image_rgb.shape), pixels, prompt.weight]
    if isinstance(prompt, MaskPrompt):
        return [prompt.kind, list(prompt.mask.shape), hashlib.sha256(prompt.mask.tobytes()).hexdigest()]
    return [prompt.kind, repr(prompt)]
