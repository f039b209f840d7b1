"""Write results as data sets in the formats of other tools, and read data sets back."""

import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path

from promptseg.errors import DataError, OutputError
from promptseg.formats.annotation import Annotation
from promptseg.formats.base import DataSet, check_classes, read_json, read_text, reading
from promptseg.formats.dataset_writer import JOURNAL_FILE, STATE_FILE, DatasetWriter, check_labels, stem_of
from promptseg.formats.table import FORMATS, find_format
from promptseg.image_files import expand_home
from promptseg.results import Segmentation
from promptseg.results.saved import RESULT_FILE, parse_results, read_result_file

# What `read` takes besides the names of formats: a folder that `Segmentation.save` wrote.
RESULT_FORMAT = "result"


def write(
    images: Mapping[str | Path, Segmentation] | Iterable[tuple[str | Path, Segmentation]],
    directory: str | Path,
    *,
    format: str,
    classes: Sequence[str] | None = None,
    origin: str | None = None,
    tolerance: float | None = None,
) -> Path:
    """Write results as a data set in the format of another tool.

    Args:
        images: Results by the image's path, or by any name if there is no such file; pairs may come from a generator.
        directory: New, empty, or a data set of the same format, classes, origin and tolerance, to which the images are
            added; an image that it holds already is replaced.
        format: "coco", "coco-polygons", "coco-panoptic", "yolo", "labelstudio", "labelstudio-polygons", "labelme",
            "labelme-masks", "voc", "geojson", "png" or "npz"; docs/formats.md describes what each one keeps.
        classes: The class map; None: the labels of the first result, in their order.
        origin: Source of the results in your words, if that is not one model. None: the model, the checkpoint and the
            threshold that every result states (`Segmentation.origin`), which must be the same for all.
        tolerance: For formats that write polygons: corners are dropped where the outline moves by this at most, pixels.
            None: that of the data set, which is `ops.polygons.TOLERANCE` for a new one, half a pixel, so that people
            can edit the outlines. 0: exactly the mask.

    Returns:
        The directory.

    Raises:
        OutputError: There is no image, no such format, a label is not in the class map, results are of two checkpoints
            or thresholds, the directory holds other files, or a file can't be written.
        ImageError: The format can't hold an image.
    """
    sources = _known_sources(images)
    items = _pairs(images)
    first = next(items, None)
    if first is None:
        raise OutputError("there is no image to write")
    if classes is None:
        classes = tuple(dict.fromkeys(result.label for result in first[1]))
    check_labels(str(first[0]), first[1].labels, check_classes(classes))
    stated = first[1].origin
    claimed = stated if origin is None else origin
    with DatasetWriter(
        directory, format=format, classes=classes, origin=claimed, sources=sources, tolerance=tolerance
    ) as writer:
        for source, segmentation in chain([first], items):
            if origin is None and segmentation.origin != stated:
                raise OutputError(
                    f"{source}: found by {segmentation.origin}, what was written before by {stated}: write two data "
                    "sets, or say with `origin` who found them all"
                )
            path = expand_home(source)
            # Path.is_file raises for a name that is too long for a file.
            is_file = os.path.isfile(path)  # noqa: PTH113
            writer.add(str(source), segmentation, path=path if is_file else None)
        return writer.directory


def read(directory: str | Path, *, format: str | None = None) -> DataSet:
    """Read a data set that `write` wrote, or a result that `Segmentation.save` wrote.

    Args:
        directory: Of the data set or the saved result.
        format: As `write` takes it, to read the files of this format alone, or "result" for a saved result; None: what
            the directory states in `.promptseg/dataset.json`, or "result" if it holds `result.json`.

    Returns:
        Classes and annotations; those of a saved result are its labels and one image.

    Raises:
        OutputError: There is no such format.
        DataError: A file is missing or malformed, or the format can't be told; the message names it.
    """
    directory = expand_home(directory)
    name = format if format is not None else _detect_format(directory)
    dataset = _read_result(directory) if name == RESULT_FORMAT else find_format(name).read(directory)
    _check_consistent(dataset, directory)
    return dataset


def stated_format(directory: Path) -> str:
    """Return the format that a data set states, which `write` wrote.

    Raises:
        DataError: It states none.
    """
    path = directory / STATE_FILE
    with reading(str(path), "the state of a data set"):
        return str(read_json(path)["format"])


def read_sources(directory: Path) -> dict[str, Path]:
    """Read where the images of a data set were when it was written, by the stems of their files in it.

    Raises:
        DataError: The journal of the data set is missing or damaged.
    """
    path = directory / JOURNAL_FILE
    sources = {}
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        with reading(f"{path}, line {number}", "the journal of a data set"):
            entry = json.loads(line)
            # Data sets from before 0.1 state no path.
            sources[stem_of(entry["annotation"]["file_name"])] = Path(entry.get("path") or entry["source"])
    return sources


def _detect_format(directory: Path) -> str:
    if (directory / STATE_FILE).exists():
        return stated_format(directory)
    if (directory / RESULT_FILE).exists():
        return RESULT_FORMAT
    raise DataError(
        f"{directory}: neither a data set that promptseg.write wrote nor a saved result; where another tool wrote it, "
        f"say its format: {', '.join(FORMATS)}"
    )


def _check_consistent(dataset: DataSet, directory: Path) -> None:
    """Check what no single file of a data set tells.

    Raises:
        DataError: A class or the file name of an image is no text, a label is no class, or a score is not finite.
    """
    for name in (*dataset.classes, *(each.file_name for each in dataset.annotations)):
        if not isinstance(name, str) or not name:
            raise DataError(f"{directory}: a class or an image has the name {name!r}")
    for annotation in dataset.annotations:
        for region in annotation.regions:
            if region.label not in dataset.classes:
                raise DataError(
                    f"{directory}: {annotation.file_name} has the label {region.label!r}, which is no class"
                )
            if not all(math.isfinite(score) for score in (region.score, *(one.score for one in region.instances))):
                raise DataError(
                    f"{directory}: {annotation.file_name} has a score of {region.label!r} that is no number"
                )


def _read_result(directory: Path) -> DataSet:
    where = str(directory / RESULT_FILE)
    document = read_result_file(directory)
    results = parse_results(document, where=where)
    height, width = document["size_hw"]
    image = document.get("image")
    source = str(image.get("source") or "") if isinstance(image, dict) else ""
    file_name = source.replace("\\", "/").rpartition("/")[2] or directory.resolve().name
    classes = tuple(dict.fromkeys(result.label for result in results))
    return DataSet(classes, (Annotation.from_results(results, file_name, (height, width)),))


def _pairs(
    images: Mapping[str | Path, Segmentation] | Iterable[tuple[str | Path, Segmentation]],
) -> Iterator[tuple[str | Path, Segmentation]]:
    for pair in images.items() if isinstance(images, Mapping) else images:
        match pair:
            case (source, Segmentation() as segmentation):
                yield source, segmentation
            case _:
                other = pair[1] if isinstance(pair, tuple) and len(pair) == 2 else pair
                raise OutputError(
                    "write takes the results of `segment` by the images they are of, such as {'photo.jpg': result}, "
                    f"not {type(other).__name__}"
                )


def _known_sources(
    images: Mapping[str | Path, Segmentation] | Iterable[tuple[str | Path, Segmentation]],
) -> tuple[str, ...]:
    """List the sources that are known before the results are: not those of a generator."""
    if isinstance(images, Mapping):
        return tuple(map(str, images))
    pairs = images if isinstance(images, Sequence) else ()
    return tuple(str(pair[0]) for pair in pairs if isinstance(pair, tuple) and len(pair) == 2)
