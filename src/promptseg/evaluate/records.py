"""The scores of each image and phrase, and the JSON-lines file that keeps them.

One line per image: every metric of a report can be computed again from this file, the worst cases can be looked up in
it, and an interrupted run continues from it.
"""

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

from promptseg.errors import DataError, OutputError
from promptseg.metrics import PixelCounts, SegmentCounts, SweepCounts
from promptseg.ops.atomic import atomic_file


@dataclass(frozen=True)
class PairRecord:
    """The scores of one phrase in one image.

    Attributes:
        phrase: The phrase.
        kind: "thing", "stuff", "part" or "phrase"; None for an absent phrase.
        source: Who drew the ground truth: "human", "box" for a filled box, or the process that made it; None for an
            absent phrase.
        present: Whether it is in the image.
        presence: Predicted presence, in [0, 1].
        kept: Whether that reaches the model's presence threshold.
        gated_counts: Counts of the gated mask: empty where the model predicts that the phrase is absent.
        counts: Counts of the ungated mask; None for an absent phrase.
        average_precision: Average precision of the pixels ranked by probability; nan for an absent phrase.
        argmax_counts: Counts of the pixels where this name has the highest probability of all; None where the names do
            not label every pixel.
        gated_argmax_counts: The same among the names predicted to be present, and only where their probability
            reaches the mask threshold.
        sweep: Counts at the thresholds of `promptseg.metrics.SWEEP_THRESHOLDS`; None where no metric of the benchmark
            needs them.
        segment_counts: The segments of the class in a panoptic map; None in other evaluations.
    """

    phrase: str
    kind: str | None
    source: str | None
    present: bool
    presence: float
    kept: bool
    gated_counts: PixelCounts
    counts: PixelCounts | None = None
    average_precision: float = math.nan
    argmax_counts: PixelCounts | None = None
    gated_argmax_counts: PixelCounts | None = None
    sweep: SweepCounts | None = None
    segment_counts: SegmentCounts | None = None


@dataclass(frozen=True)
class ImageRecord:
    """The scores of one image, or why it has none.

    Attributes:
        sample_id: Id of the image in its data set.
        sequence: The video it was taken from; None for a single image.
        digest: Hash of the image, the phrases and the ground truths; "" where the image failed.
        run_id: Model, checkpoint, engine and thresholds, see `EvaluationRun.run_id`.
        seconds: Time to read and encode the image and to segment all phrases.
        pairs: One per phrase.
        error: Why the image failed; None where it did not.
    """

    sample_id: str
    sequence: str | None = None
    digest: str = ""
    run_id: str = ""
    seconds: float = math.nan
    pairs: tuple[PairRecord, ...] = ()
    error: str | None = None

    @property
    def unit(self) -> str:
        """What the bootstrap draws as one unit: the video where there is one, else the image."""
        return self.sample_id if self.sequence is None else f"sequence {self.sequence}"


def to_json_line(record: ImageRecord) -> str:
    """Write a record as one line of strict JSON, without its line end.

    nan becomes null, counts become [intersection, predicted, actual, valid]; a pair with counts has its `iou` too.
    """
    values = {name: _to_json(value) for name, value in vars(record).items()}
    values["pairs"] = [
        {name: _to_json(value) for name, value in vars(pair).items()}
        | ({"iou": _to_json(pair.counts.iou)} if pair.counts is not None else {})
        for pair in record.pairs
    ]
    return json.dumps(values, allow_nan=False, ensure_ascii=False)


def from_json_line(line: str) -> ImageRecord:
    """Read what `to_json_line` wrote.

    Raises:
        DataError: The line is not such a record.
    """
    try:
        values = json.loads(line)
        pairs = tuple(_to_pair(pair) for pair in values.pop("pairs"))
        # Records of version 0.1 name this field "asked".
        values.setdefault("run_id", values.pop("asked", ""))
        return ImageRecord(**values | {"seconds": _to_float(values["seconds"])}, pairs=pairs)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"not a record of an evaluation: {line[:80]!r}") from error


def read_records(path: Path) -> Iterator[ImageRecord]:
    """Read the records of a run; an incomplete last line is left out.

    Raises:
        DataError: Another line is not a record; the message names it.
    """
    lines = path.read_text(encoding="utf-8").split("\n")
    for number, line in enumerate(lines[:-1], start=1):
        try:
            yield from_json_line(line)
        except DataError as error:
            raise DataError(f"{path}, line {number}: {error}") from error


def load_done(path: Path) -> dict[str, ImageRecord]:
    """Read what an interrupted run had already done, by sample id; nothing where there is no such file."""
    if not path.exists():
        return {}
    return {record.sample_id: record for record in read_records(path) if record.error is None}


def keep_records(
    records: Iterable[ImageRecord], path: Path, *, done: Mapping[str, ImageRecord]
) -> Iterator[ImageRecord]:
    """Pass records on, and write each to a file before the next is made.

    Args:
        records: As they come.
        path: JSON-lines file; replaced.
        done: What it holds already; it stays in the file if this run is interrupted too.

    Yields:
        The same records. After the last one the file holds them and no others, in order.

    Raises:
        OutputError: The file can't be written.
    """
    kept = []
    _write_records(done.values(), path)
    try:
        with path.open("a", encoding="utf-8") as journal:
            for record in records:
                if done.get(record.sample_id) is not record:
                    journal.write(to_json_line(record) + "\n")
                    journal.flush()
                kept.append(record)
                yield record
    except OSError as error:
        raise OutputError(f"{path}: can't be written: {error.strerror or error}") from error
    _write_records(kept, path)


def _to_json(value: Any) -> Any:
    if isinstance(value, PixelCounts | SegmentCounts | SweepCounts):
        return astuple(value)
    return None if isinstance(value, float) and math.isnan(value) else value


def _to_pair(values: dict[str, Any]) -> PairRecord:
    values.pop("iou", None)
    segments = values.pop("segment_counts", None)
    counts = {name: PixelCounts(*values[name]) for name in values if name.endswith("counts") and values[name]}
    precision = _to_float(values["average_precision"])
    return PairRecord(
        **values
        | counts
        | {"average_precision": precision, "sweep": _to_sweep(values.get("sweep"))}
        | {"segment_counts": None if segments is None else SegmentCounts(*segments)}
    )


def _to_sweep(values: list[Any] | None) -> SweepCounts | None:
    if values is None:
        return None
    intersection, predicted, actual, valid = values
    return SweepCounts(tuple(intersection), tuple(predicted), actual, valid)


def _to_float(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _write_records(records: Iterable[ImageRecord], path: Path) -> None:
    with atomic_file(path) as temporary:
        temporary.write_text("".join(f"{to_json_line(record)}\n" for record in records), encoding="utf-8")
