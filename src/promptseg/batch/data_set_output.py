"""The output of a batch as a data set in the format of another tool, written image by image."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

from promptseg.batch.attempt import Attempt
from promptseg.batch.reader import ImageReader
from promptseg.batch.requests import BatchRequest, identify_queries
from promptseg.batch.sources import BatchImage
from promptseg.errors import ImageError
from promptseg.formats.annotation import Annotation
from promptseg.formats.base import DataSetImage
from promptseg.formats.dataset_writer import DatasetWriter
from promptseg.formats.failures import write_failures
from promptseg.images import LARGEST_LIMITS, read_image
from promptseg.language.things_and_stuff import decide_kind
from promptseg.predictor import Predictor
from promptseg.results import Segmentation


class AnnotatedImage(TypedDict):
    """What became of an image.

    Keys:
        path: Id of the image; see `BatchImage`.
        annotation: As `Annotation.to_dict` describes it, without a file name; None where the image failed.
        error: Why the image failed; None: it did not.
    """

    path: str
    annotation: dict[str, Any] | None
    error: str | None


@dataclass(frozen=True)
class AnnotationForm:
    """Describes what became of an image for a data set; a `worker.Form`."""

    def describe(self, attempt: Attempt, result: Segmentation, things: Mapping[str, bool]) -> AnnotatedImage:
        """Describe the results: classes and objects, without unsure ones."""
        annotation = Annotation.from_results(result, "", result.size_hw)
        return AnnotatedImage(path=attempt.image.id, annotation=annotation.to_dict(), error=None)

    def describe_error(self, attempt: Attempt, error: str) -> AnnotatedImage:
        """Describe why an image failed; the message names it."""
        where = attempt.image.where
        message = error if where in error else f"{where}: {error}"
        return AnnotatedImage(path=attempt.image.id, annotation=None, error=message)


class DataSetOutput:
    """A data set that grows by what becomes of images, an `Output`; `open_data_set` gives it.

    Attributes:
        writer: Writes the data set.
        failures: Why images failed, by their ids.
    """

    form = AnnotationForm()

    def __init__(self, writer: DatasetWriter) -> None:
        self.writer = writer
        self.failures: dict[str, str] = {}
        self._images: dict[str, BatchImage] = {}
        self._reader = ImageReader()

    def list_to_do(self, images: Sequence[BatchImage]) -> list[BatchImage]:
        """List the images that the data set lacks, or that had other points and boxes."""
        self._images = {image.id: image for image in images if not self._is_done(image)}
        return list(self._images.values())

    def add(self, outcome: AnnotatedImage) -> str | None:
        """Write an image and what is in it; return its error.

        Raises:
            OutputError: A file can't be written.
        """
        image, error = self._images[outcome["path"]], outcome["error"]
        if outcome["annotation"] is not None:
            annotation = Annotation.from_dict({**outcome["annotation"], "file_name": ""})
            try:
                self.writer.add_annotation(
                    image.id, annotation, self._describe(image, annotation), prompts=_identify_pointing(image)
                )
            except ImageError as refused:
                error = str(refused)
        if error is not None:
            self.failures[image.id] = error
        return error

    def _is_done(self, image: BatchImage) -> bool:
        return image.id in self.writer and self.writer.prompts_of(image.id) == _identify_pointing(image)

    def _describe(self, image: BatchImage, annotation: Annotation) -> DataSetImage:
        """Describe the file of an image; pixels are read again by formats that need them."""
        if image.is_file:
            return DataSetImage(
                annotation.size_hw, lambda: read_image(image.file, limits=LARGEST_LIMITS), path=image.file
            )
        content = self._reader.read(image, max_bytes=LARGEST_LIMITS.max_bytes)
        return DataSetImage(annotation.size_hw, lambda: read_image(content, limits=LARGEST_LIMITS), encoded=content)


@contextmanager
def open_data_set(
    directory: Path,
    predictor: Predictor,
    request: BatchRequest,
    images: Sequence[BatchImage],
    *,
    format: str,
    tolerance: float | None = None,
) -> Iterator[DataSetOutput]:
    """Open a data set: a new or empty folder, or that of an earlier run of the same model and request.

    What failed is listed in `failures.txt` at the end of the block, also where it was interrupted.

    Args:
        directory: The folder.
        predictor: The model, which the data set names as its origin.
        request: What is asked about each image; its labels are the class map.
        images: All images of the run.
        format: As `promptseg.write` takes it.
        tolerance: Of polygons, as `promptseg.write` takes it.

    Raises:
        OutputError: As `DatasetWriter`.
    """
    described = request.describe()
    with DatasetWriter(
        directory,
        format=format,
        classes=request.labels,
        origin=f"{predictor.origin}, {described}" if described else predictor.origin,
        sources=[image.id for image in images],
        tolerance=tolerance,
        stuff=_list_stuff(request),
    ) as writer:
        output = DataSetOutput(writer)
        try:
            yield output
        finally:
            write_failures(writer.directory, output.failures)


def _list_stuff(request: BatchRequest) -> list[str] | None:
    """List the classes that are not counted one by one; None: the request says so of none, and the format decides."""
    things = request.things
    if not things:
        return None
    return [label for label in request.labels if not (things[label] if label in things else decide_kind([label])[0])]


def _identify_pointing(image: BatchImage) -> str:
    return identify_queries(image.pointing) if image.pointing else ""
