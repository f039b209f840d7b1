"""What came out for each picture and phrase, and the JSON-lines file that keeps it.

One line a picture: every number of a report can be computed again from this file, the worst cases can be looked up in it, and
a run that was broken off continues from it.
"""

import json
import math
from collections.abc import Iterator
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from typing import Any

from promptseg.errors import DataError
from promptseg.metrics import PixelCounts


@dataclass(frozen=True)
class PairRecord:
    """One phrase asked of one picture.

    Attributes:
        phrase: What was asked.
        kind: "thing", "stuff", "part" or "phrase"; None for an absent phrase.
        present: Whether it is in the picture.
        presence: What the model says of that, in [0, 1].
        kept: Whether that reaches its presence threshold.
        counts: Of the mask whatever the presence: pixels at or above the mask threshold.
        gated_counts: Of the mask that the model gives: empty where it says that the phrase is absent.
        average_precision: Of the pixels ranked by probability; nan for an absent phrase.
        argmax_counts: Of the pixels where this name has the highest probability of all names; None where the names do not
            label every pixel.
        gated_argmax_counts: The same among the names said to be present, and only where the probability reaches the mask
            threshold.
    """

    phrase: str
    kind: str | None
    present: bool
    presence: float
    kept: bool
    counts: PixelCounts
    gated_counts: PixelCounts
    average_precision: float
    argmax_counts: PixelCounts | None = None
    gated_argmax_counts: PixelCounts | None = None


@dataclass(frozen=True)
class PictureRecord:
    """All that was asked of one picture, or why nothing could be.

    Attributes:
        sample_id: Of the picture, in its data set.
        sequence: The video it was taken from; None for a single picture.
        digest: Of the picture, the phrases and the truths; "" where the picture failed.
        seconds: Time to read and encode the picture and to answer all phrases.
        pairs: One per phrase.
        error: Why the picture failed; None where it did not.
    """

    sample_id: str
    sequence: str | None = None
    digest: str = ""
    seconds: float = math.nan
    pairs: tuple[PairRecord, ...] = ()
    error: str | None = None

    @property
    def unit(self) -> str:
        """What the bootstrap draws as one: the video where there is one, else the picture."""
        return self.sample_id if self.sequence is None else f"sequence {self.sequence}"


def to_json_line(record: PictureRecord) -> str:
    """Write a record as one line of strict JSON; nan becomes null, counts become [intersection, predicted, actual, valid]."""
    values = asdict(record)
    values["pairs"] = [
        {
            name: list(astuple(value)) if isinstance(value, PixelCounts) else value
            for name, value in vars(pair).items()
            if value is not None
        }
        | {"iou": pair.counts.iou if pair.present else None}
        for pair in record.pairs
    ]
    return json.dumps(_nan_to_none(values), allow_nan=False, ensure_ascii=False)


def from_json_line(line: str) -> PictureRecord:
    """Read what `to_json_line` wrote.

    Raises:
        DataError: The line is not such a record.
    """
    try:
        values = json.loads(line)
        pairs = tuple(_pair(pair) for pair in values.pop("pairs"))
        seconds = _number(values.pop("seconds"))
        return PictureRecord(**values, seconds=seconds, pairs=pairs)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"not a record of an evaluation: {line[:80]!r}") from error


def read_records(path: Path) -> Iterator[PictureRecord]:
    """Read the records of a run; a last line that was broken off is left out.

    Raises:
        DataError: Another line is not a record.
    """
    lines = path.read_text(encoding="utf-8").split("\n")
    for number, line in enumerate(lines[:-1], start=1):
        try:
            yield from_json_line(line)
        except DataError as error:
            raise DataError(f"{path}, line {number}: {error}") from error


def _pair(values: dict[str, Any]) -> PairRecord:
    values.pop("iou")
    counts = {name: PixelCounts(*values.pop(name)) for name in list(values) if name.endswith("counts")}
    average_precision = _number(values.pop("average_precision"))
    return PairRecord(**{"kind": None} | values | counts, average_precision=average_precision)


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _nan_to_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _nan_to_none(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_nan_to_none(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
