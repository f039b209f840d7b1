"""Segment many images by one request, and write a table of rows or a data set; a run that was killed goes on."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from promptseg.batch.data_set_output import open_data_set
from promptseg.batch.output import FORMATS, Claim, open_output
from promptseg.batch.pool import Pool
from promptseg.batch.requests import AskedClass, BatchRequest, ClassesRequest, MapRequest
from promptseg.batch.sources import BatchImage
from promptseg.batch.worker import BatchJob, Form, Worker
from promptseg.errors import OutputError
from promptseg.formats.table import FORMATS as DATA_SET_FORMATS
from promptseg.formats.table import find_format
from promptseg.image_files import expand_home
from promptseg.predictor import Predictor
from promptseg.prompts import QueryLike

T = TypeVar("T")

ReportImages = Callable[[int, int], None]
"""Told after each image how many of this run are done, and how many it has."""


class Runner(Protocol):
    """Segments images in other processes.

    Attributes:
        num_threads: Threads that each process takes.
    """

    @property
    def num_threads(self) -> int: ...

    def run(self, job: BatchJob[T], images: Iterable[BatchImage]) -> Iterator[T]:
        """Yield the outcome of each image once, in any order."""
        ...


class Output(Protocol[T]):
    """Where a batch is written.

    Attributes:
        form: What is kept of an image.
    """

    @property
    def form(self) -> Form[T]: ...

    def list_to_do(self, images: Sequence[BatchImage]) -> list[BatchImage]:
        """List the images that are not done yet."""
        ...

    def add(self, outcome: T) -> str | None:
        """Take what became of an image, and return its error; None: it did not fail."""
        ...


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
    request: MapRequest | QueryLike | AskedClass | Iterable[QueryLike | AskedClass],
    directory: str | Path,
    *,
    format: str = "parquet",
    tolerance: float | None = None,
    runner: Runner | None = None,
    retry_errors: bool = False,
    images_per_part: int = 1000,
    report: ReportImages | None = None,
) -> BatchSummary:
    """Segment many images by one request; write a row for each object, or a data set.

    Args:
        predictor: The loaded model; `promptseg.load` returns it. Each worker loads it again.
        images: What `list_sources` listed.
        request: Queries as `Predictor.segment` takes them, classes with several wordings, or a map of all pixels.
        directory: New, empty, or the output of an earlier run of the same model and request: images that it holds are
            skipped.
        format: "parquet" or "jsonl": part files with the rows of `batch.rows.Row`, which `read_rows` reads; or a format
            of `promptseg.write`: a data set, with the images that failed in `failures.txt`.
        tolerance: Of polygons in data sets, as `promptseg.write` takes it.
        runner: Where the images are segmented; None: a `Pool` of one process for each core.
        retry_errors: Try images again that failed in an earlier run; for a data set they always are.
        images_per_part: A part is written after so many images, or after a minute.
        report: Told the progress, or None.

    Raises:
        DataError: A part of an earlier run can't be read.
        PromptError: The request is malformed, or the model does not take it.
        OutputError: There is no such format, or the directory holds something else or can't be written.
        EngineError: The workers can't start, or the cluster does not answer.
    """
    asked = request if isinstance(request, MapRequest) else ClassesRequest.read(request)
    asked.check(predictor)
    runner = runner or Pool.of_cores(predictor.device)
    directory = expand_home(directory)
    if format not in FORMATS:
        check_format(format, tolerance=tolerance)
        with open_data_set(directory, predictor, asked, images, format=format, tolerance=tolerance) as data_set:
            return segment_images(predictor, images, asked, data_set, runner=runner, report=report)
    claim = Claim(
        format=format,
        model=predictor.name,
        fingerprint=predictor.fingerprint,
        threshold=predictor.presence_threshold,
        labels=asked.labels,
        queries=asked.identify(),
    )
    with open_output(directory, claim, images_per_part=images_per_part) as parts:
        if retry_errors:
            parts.drop_errors()
        return segment_images(predictor, images, asked, parts, runner=runner, report=report)


def check_format(format: str, *, tolerance: float | None = None) -> None:
    """Check that a batch can be written in a format, of rows or of data sets.

    Raises:
        OutputError: It can't, or the tolerance is no number from 0 on.
    """
    if format in FORMATS:
        return
    if format not in DATA_SET_FORMATS:
        raise OutputError(f"no format is named {format!r}; there are {', '.join((*FORMATS, *DATA_SET_FORMATS))}")
    find_format(format, tolerance=tolerance)


def segment_images(
    predictor: Predictor,
    images: Sequence[BatchImage],
    request: BatchRequest,
    output: Output[T],
    *,
    runner: Runner | None,
    report: ReportImages | None = None,
    watch: Callable[[Sequence[BatchImage]], Iterable[BatchImage]] = iter,
) -> BatchSummary:
    """Segment the images that an output lacks, and write them there.

    Args:
        predictor: As `batch`.
        images: As `batch`.
        request: What is asked about each.
        output: Where the outcomes go.
        runner: Where the images are segmented; None: in this process.
        report: As `batch`.
        watch: Receives the images that are left to do, and yields them one by one.
    """
    start = time.monotonic()
    to_do = output.list_to_do(images)
    if runner is None:
        outcomes: Iterator[T] = map(Worker(predictor, request, output.form), watch(to_do))
    else:
        job = BatchJob.of(predictor, request, output.form, num_threads=runner.num_threads)
        outcomes = runner.run(job, watch(to_do))
    num_errors = 0
    for number, outcome in enumerate(outcomes, start=1):
        num_errors += output.add(outcome) is not None
        if report is not None:
            report(number, len(to_do))
    return BatchSummary(len(images), len(images) - len(to_do), num_errors, time.monotonic() - start)
