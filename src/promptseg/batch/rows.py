"""The rows of a batch: what every runner yields and every output holds."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypedDict

from promptseg.batch.sources import BatchImage
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

    def describe(
        self, image: BatchImage, result: Segmentation, things: Mapping[str, bool], *, sha256: str, seconds: float
    ) -> list[Row]:
        """Describe the results: a row for each object, and one for each label without objects."""
        return [row for query in result for row in _rows_of_label(image, result, query, things, sha256, seconds)]

    def describe_error(
        self,
        image: BatchImage,
        error: str,
        *,
        model: str,
        fingerprint: str,
        sha256: str | None = None,
        seconds: float = 0.0,
    ) -> list[Row]:
        """Describe why an image failed, in one row."""
        return [error_row(image, error, model=model, fingerprint=fingerprint, sha256=sha256, seconds=seconds)]


def error_row(
    image: BatchImage, error: str, *, model: str, fingerprint: str, sha256: str | None = None, seconds: float = 0.0
) -> Row:
    """Describe an image that failed."""
    row = _blank_row(image, model, fingerprint, sha256, seconds)
    row["error"] = " ".join(error.split())
    return row


def _rows_of_label(
    image: BatchImage,
    result: Segmentation,
    query: QueryResult,
    things: Mapping[str, bool],
    sha256: str,
    seconds: float,
) -> list[Row]:
    label = _blank_row(image, result.model, result.fingerprint, sha256, seconds)
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
        is_thing=None,
        read_as=None,
        object=None,
        score=None,
        box_xyxy=None,
        mask=None,
        error=None,
        seconds=round(seconds, 4),
    )
