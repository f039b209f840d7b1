"""The rows of a batch: what every runner yields and every output holds."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import NoneType
from typing import TypedDict, cast, get_args, get_type_hints

from promptseg._value_checks import is_number
from promptseg.batch.attempt import Attempt
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
        is_thing: Whether the class is counted one by one; None: the request did not say so.
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
    is_thing: bool | None
    read_as: str | None
    object: int | None
    score: float | None
    box_xyxy: list[int] | None
    mask: str | None
    error: str | None
    seconds: float


@dataclass(frozen=True)
class RowForm:
    """Describes what became of an image in rows; a `worker.Form`."""

    def describe(self, attempt: Attempt, result: Segmentation, things: Mapping[str, bool]) -> list[Row]:
        """Describe the results: a row for each object, and one for each label without objects."""
        return [row for query in result for row in _rows_of_label(attempt, result, query, things)]

    def describe_error(self, attempt: Attempt, error: str) -> list[Row]:
        """Describe why an image failed, in one row."""
        return [error_row(attempt, error)]


def checked_row(row: object) -> Row:
    """Return what a file of rows holds, if it is a row.

    Raises:
        ValueError: It is no object, lacks a column, or has a column with another kind of value.
    """
    if not isinstance(row, dict) or not all(isinstance(key, str) for key in row):
        raise ValueError(f"a row is an object, not {row!r:.80}")
    if missing := [name for name in COLUMNS if name not in row]:
        raise ValueError(f"a row has no {missing[0]}")
    for name, (kind, may_lack) in COLUMNS.items():
        if not (_FITS[kind](row[name]) or (may_lack and row[name] is None)):
            raise ValueError(f"{row[name]!r:.80} is no {name} of a row")
    return cast(Row, row)


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31


def _is_box(value: object) -> bool:
    return isinstance(value, list) and len(value) == 4 and all(map(_is_whole, value))


_FITS: dict[object, Callable[[object], bool]] = {
    str: _is_text,
    int: _is_whole,
    float: is_number,
    bool: lambda value: isinstance(value, bool),
    list[int]: _is_box,
    Status: lambda value: value in get_args(Status),
}

# The kind of value of each column: a key of `_FITS`; and whether it may be None.
COLUMNS: dict[str, tuple[object, bool]] = {
    name: (next((kind for kind in _FITS if kind in get_args(hint)), hint), NoneType in get_args(hint))
    for name, hint in get_type_hints(Row).items()
}


def error_row(attempt: Attempt, error: str) -> Row:
    """Describe an image that failed."""
    row = _blank_row(attempt)
    row["error"] = " ".join(error.split())
    return row


def _rows_of_label(attempt: Attempt, result: Segmentation, query: QueryResult, things: Mapping[str, bool]) -> list[Row]:
    label = _blank_row(attempt)
    label["height"], label["width"] = result.size_hw
    label["label"] = query.label
    label["presence"] = round(query.presence, 6)
    label["is_present"] = query.is_present
    label["status"] = query.status
    label["is_thing"] = things.get(query.label)
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


def _blank_row(attempt: Attempt) -> Row:
    """Describe an image of which nothing was found yet."""
    return Row(
        path=attempt.image.id,
        sha256=attempt.sha256,
        width=None,
        height=None,
        model=attempt.model,
        fingerprint=attempt.fingerprint,
        label=None,
        presence=None,
        is_present=None,
        status=None,
        is_thing=None,
        read_as=None,
        object=None,
        score=None,
        box_xyxy=None,
        mask=None,
        error=None,
        seconds=round(attempt.seconds, 4),
    )
