"""Segment many images by one request, and write a table of rows; a run that was killed goes on."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from promptseg.batch.output import Claim, Format, PartFiles, open_output
from promptseg.batch.pool import Pool
from promptseg.batch.rows import Row, identify_queries
from promptseg.batch.sources import BatchImage
from promptseg.batch.worker import BatchJob
from promptseg.image_files import expand_home
from promptseg.predictor import Predictor
from promptseg.prompts import QueryLike

# A part is written after so many seconds at the latest: a run that is killed loses the work since the last part.
_SECONDS_OF_A_PART = 60.0

ReportImages = Callable[[int, int], None]
"""Told after each image how many of this run are done, and how many it has."""


class Runner(Protocol):
    """Segments images in other processes.

    Attributes:
        num_threads: Threads that each process takes.
    """

    @property
    def num_threads(self) -> int: ...

    def run(self, job: BatchJob, images: Iterable[BatchImage]) -> Iterator[list[Row]]:
        """Yield the rows of each image once, in any order."""


@dataclass(frozen=True)
class BatchSummary:
    """The outcome of a batch.

    Attributes:
        num_images: Images of the sources.
        num_done_before: Of these, images that earlier runs had done.
        num_errors: Images of this run that failed.
        seconds: That this run took.
    """

    num_images: int
    num_done_before: int
    num_errors: int
    seconds: float


def batch(
    predictor: Predictor,
    images: Sequence[BatchImage],
    queries: QueryLike | Iterable[QueryLike],
    directory: str | Path,
    *,
    format: Format = "parquet",
    runner: Runner | None = None,
    retry_errors: bool = False,
    images_per_part: int = 1000,
    report: ReportImages | None = None,
) -> BatchSummary:
    """Segment many images by one request; write a row for each object.

    Args:
        predictor: The loaded model; `promptseg.load` returns it. Each worker loads it again.
        images: What `list_sources` listed.
        queries: As `Predictor.segment` takes them.
        directory: New, empty, or the output of an earlier run of the same model and request: images that it holds are
            skipped. It gets part files with the rows of `batch.rows.Row`; `read_rows` reads them.
        format: "parquet" or "jsonl", of the part files.
        runner: Where the images are segmented; None: a `Pool` of one process for each core.
        retry_errors: Try images again that failed in an earlier run.
        images_per_part: A part is written after so many images, or after a minute.
        report: Told the progress, or None.

    Raises:
        DataError: A part of an earlier run can't be read.
        PromptError: The request is malformed, or the model does not take it.
        OutputError: The directory holds something else, or can't be written.
        EngineError: The workers can't start, or the cluster does not answer.
    """
    start = time.monotonic()
    requested = predictor.check_queries(queries)
    claim = Claim(
        format=format,
        model=predictor.name,
        fingerprint=predictor.fingerprint,
        threshold=predictor.presence_threshold,
        labels=tuple(query.label for query in requested),
        queries=identify_queries(requested),
    )
    runner = runner or Pool.of_cores(predictor.device)
    job = BatchJob.of(predictor, requested, num_threads=runner.num_threads)
    with open_output(expand_home(directory), claim) as parts:
        if retry_errors:
            parts.drop_errors()
        done = parts.ids()
        to_do = [image for image in images if image.id not in done]
        num_errors = _write_all(parts, runner.run(job, to_do), len(to_do), images_per_part, report)
    return BatchSummary(len(images), len(images) - len(to_do), num_errors, time.monotonic() - start)


def _write_all(
    parts: PartFiles,
    outcomes: Iterator[list[Row]],
    num_images: int,
    images_per_part: int,
    report: ReportImages | None,
) -> int:
    """Write the rows of images as they come, part by part; return how many images failed."""
    num_done = num_errors = num_waiting = 0
    waiting: list[Row] = []
    written_at = time.monotonic()
    try:
        for rows in outcomes:
            waiting += rows
            num_done, num_waiting = num_done + 1, num_waiting + 1
            num_errors += any(row["error"] is not None for row in rows)
            if report is not None:
                report(num_done, num_images)
            if num_waiting >= images_per_part or time.monotonic() - written_at >= _SECONDS_OF_A_PART:
                parts.write(waiting)
                waiting, num_waiting, written_at = [], 0, time.monotonic()
    finally:  # what is done is kept, also when the run is interrupted
        if waiting:
            parts.write(waiting)
    return num_errors
