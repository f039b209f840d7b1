"""The rows of a batch: what every runner yields and every output holds."""

import hashlib
import json
from collections.abc import Callable, Sequence
from typing import TypedDict, cast

from promptseg._value_checks import is_number
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


def checked_row(row: object) -> Row:
    """Return what a file of rows holds, if it is a row.

    Raises:
        ValueError: It is no object, lacks a column, or has a column with another kind of value.
    """
    if not isinstance(row, dict) or not all(isinstance(key, str) for key in row):
        raise ValueError(f"a row is an object, not {row!r:.80}")
    if missing := [name for name in _COLUMNS if name not in row]:
        raise ValueError(f"a row has no {missing[0]}")
    for name, fits in _COLUMNS.items():
        if not fits(row[name]):
            raise ValueError(f"{row[name]!r:.80} is no {name} of a row")
    return cast(Row, row)


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31


def _is_flag(value: object) -> bool:
    return isinstance(value, bool)


def _is_box(value: object) -> bool:
    return isinstance(value, list) and len(value) == 4 and all(map(_is_whole, value))


def _or_none(fits: Callable[[object], bool]) -> Callable[[object], bool]:
    return lambda value: value is None or fits(value)


_COLUMNS: dict[str, Callable[[object], bool]] = {
    "path": _is_text,
    "sha256": _or_none(_is_text),
    "width": _or_none(_is_whole),
    "height": _or_none(_is_whole),
    "model": _is_text,
    "fingerprint": _is_text,
    "label": _or_none(_is_text),
    "presence": _or_none(is_number),
    "is_present": _or_none(_is_flag),
    "status": _or_none(lambda value: value in ("present", "unsure", "absent")),
    "read_as": _or_none(_is_text),
    "object": _or_none(_is_whole),
    "score": _or_none(is_number),
    "box_xyxy": _or_none(_is_box),
    "mask": _or_none(_is_text),
    "error": _or_none(_is_text),
    "seconds": is_number,
}


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
