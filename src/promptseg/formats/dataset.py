"""Write data sets image by image, continue interrupted runs, and read data sets back.

`.promptseg/` in the data set's directory keeps what the format itself may lose: `dataset.json`, which identifies the
data set, and `pictures.jsonl`, one line for each image that is done. A line is written after the files of its image, so
an image without a line is written again.
"""

import json
import math
import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from filelock import FileLock, Timeout

from promptseg._wording import shorten
from promptseg.errors import DataError, OutputError
from promptseg.formats.annotation import Annotation
from promptseg.formats.base import (
    CLASS_MAP,
    DataSet,
    DataSetImage,
    check_classes,
    read_json,
    read_text,
    reading,
    write_class_map,
    write_json,
)
from promptseg.formats.names import OutputNames
from promptseg.formats.table import FORMATS, find_format, polygon_tolerance
from promptseg.image_files import expand_home
from promptseg.results import Segmentation
from promptseg.results.saved import RESULT_FILE, parse_results, read_result_file

# What `read` takes besides the names of formats: a folder that `Segmentation.save` wrote.
RESULT_FORMAT = "result"

_SCHEMA = "promptseg/dataset-1"
_STATE = Path(".promptseg")
STATE_FILE = _STATE / "dataset.json"
_JOURNAL = _STATE / "pictures.jsonl"


class DatasetWriter:
    """Add images to a data set; use it in a `with` block, which writes the files that span all images at its end.

    Args:
        directory: New, empty, or a data set of the same format, classes, origin and tolerance, which is continued. A
            data set of the same format that holds no image yet is replaced.
        format: A name in `formats.table.FORMATS`.
        classes: The class map.
        origin: Source of the annotations, such as a model and its threshold; one data set has one origin.
        sources: Those that will be added, as far as they are known: their names then do not depend on the order.
        tolerance: Of polygons, as `write` takes it.
        stuff: Classes without countable objects, for coco-panoptic; None: told by tables and WordNet.

    Raises:
        OutputError: There is no such format, the tolerance is no number from 0 on, the class map is invalid, or the
            directory holds other files or another data set, is being written by another process or can't be written.
    """

    def __init__(
        self,
        directory: str | Path,
        *,
        format: str,
        classes: Sequence[str],
        origin: str = "",
        sources: Iterable[str] = (),
        tolerance: float | None = None,
        stuff: Collection[str] | None = None,
    ) -> None:
        self.directory = expand_home(directory)
        self.format = find_format(format, tolerance=tolerance, stuff=stuff)
        self.classes = check_classes(classes)
        self._journal = self.directory / _JOURNAL
        self._lock = FileLock(self.directory / _STATE / "lock")
        state: dict[str, Any] = {
            "schema": _SCHEMA,
            "format": format,
            "classes": list(self.classes),
            "origin": origin,
            "tolerance": polygon_tolerance(format, tolerance),
        }
        self._claim(state, keep_tolerance=tolerance is None)
        self.format = find_format(format, tolerance=state["tolerance"], stuff=stuff)
        # For each image, the offset of its last line in the journal, and its file name in the data set.
        self._entries: dict[str, tuple[int, str]] = {}
        for offset, line in self._lines():
            self._entries[line["source"]] = (offset, line["annotation"]["file_name"])
        self._names = OutputNames(
            (source for source in sources if source not in self._entries),
            taken=(_stem(file_name) for _, file_name in self._entries.values()),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._finish()
        finally:
            self._lock.release()

    def __contains__(self, source: object) -> bool:
        return source in self._entries

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, source: str, segmentation: Segmentation, *, path: Path | None = None) -> Annotation:
        """Write one image and its results; an image of the same source is replaced.

        Args:
            source: Key of the image, such as its path in its folder; the last part names its files.
            segmentation: The results.
            path: The image's file; None: it has none, and its pixels are written as PNG if the format holds images.

        Returns:
            What was written.

        Raises:
            OutputError: A label is not in the class map, or a file can't be written.
            ImageError: The format can't hold this image.
        """
        _check_labels(source, segmentation, self.classes)
        image = DataSetImage(segmentation.image_rgb, path)
        annotation = Annotation.from_results(segmentation, self._name(source, image), segmentation.size_hw)
        # First the step that may refuse the image.
        if self.format.write_image is not None:
            self.format.write_image(self.directory, annotation, self.classes, image)
        if self.format.images is not None:
            folder = self.directory / self.format.images
            image.save(folder / annotation.file_name)
            if source in self._entries and (before := self._entries[source][1]) != annotation.file_name:
                (folder / before).unlink(missing_ok=True)
        self._record(source, annotation, path)
        return annotation

    def path_of(self, source: str) -> Path | None:
        """Give the file of an image that is there, where it was when it was added; None: it is not there, or had none.

        Raises:
            OutputError: The journal can't be read.
        """
        if source not in self._entries:
            return None
        try:
            with self._journal.open("rb") as journal:
                journal.seek(self._entries[source][0])
                stated = json.loads(journal.readline()).get("path")
        except OSError as error:
            raise OutputError(f"{self._journal}: can't be read: {error.strerror or error}") from error
        return Path(stated) if isinstance(stated, str) else None

    def annotations(self) -> Iterator[tuple[str, Annotation]]:
        """Yield the source and the annotation of every image, in the order in which they were added."""
        with self._journal.open("rb") as journal:
            for source, (offset, _) in self._entries.items():
                journal.seek(offset)
                yield source, Annotation.from_dict(json.loads(journal.readline())["annotation"])

    def _claim(self, state: dict[str, Any], *, keep_tolerance: bool) -> None:
        """Lock the directory, and write the state of a new data set.

        Args:
            state: Of this data set; gets the tolerance of the one that is continued.
            keep_tolerance: No tolerance was asked for.
        """
        path = self.directory / STATE_FILE
        # A run that was interrupted right at its start leaves no file of another owner.
        if self.directory.is_dir() and not path.exists() and _holds_files(self.directory, besides={_STATE.name}):
            raise OutputError(f"{self.directory}: holds other files; a data set goes to a new or empty folder")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._lock.acquire(blocking=False)
        except Timeout as error:
            raise OutputError(f"{self.directory}: another process is writing this data set") from error
        except OSError as error:
            raise OutputError(f"{self.directory}: can't be written: {error.strerror or error}") from error
        with ExitStack() as undo:
            undo.callback(self._lock.release)
            there = read_json(path) if path.exists() else None
            if keep_tolerance and isinstance(there, dict) and there.get("format") == state["format"]:
                state["tolerance"] = polygon_tolerance(self.format.name, there.get("tolerance"))
            if there is None or not _is_continued(self.directory, there, state):
                write_json(path, state)
            write_class_map(self.directory, self.classes)
            self._journal.touch()
            self._cut_broken_line()
            undo.pop_all()

    def _cut_broken_line(self) -> None:
        """Drop the incomplete last line of a journal."""
        with self._journal.open("rb+") as journal:
            content = journal.read()
            journal.truncate(content.rfind(b"\n") + 1)

    def _lines(self) -> Iterator[tuple[int, dict[str, Any]]]:
        offset = 0
        with self._journal.open("rb") as journal:
            for line in journal:
                try:
                    yield offset, json.loads(line)
                except ValueError as error:
                    raise DataError(f"{self._journal}: damaged at byte {offset:,}; start in a new folder") from error
                offset += len(line)

    def _name(self, source: str, image: DataSetImage) -> str:
        """Choose the file name in the data set: the same as before, or one whose stem no other image has."""
        suffix = image.path.suffix if image.path is not None and image.keeps_its_file else ".png"
        known = source in self._entries
        return (_stem(self._entries[source][1]) if known else self._names.choose(source)) + suffix

    def _record(self, source: str, annotation: Annotation, path: Path | None) -> None:
        # The path, because some formats hold no images.
        where = None if path is None else str(path.absolute())
        line = json.dumps({"source": source, "path": where, "annotation": annotation.to_dict()}) + "\n"
        try:
            if self._is_recorded(source, line):
                return
            with self._journal.open("ab") as journal:
                offset = journal.tell()
                journal.write(line.encode("ascii"))
        except OSError as error:
            raise OutputError(f"{self._journal}: can't be written: {error.strerror or error}") from error
        self._entries[source] = (offset, annotation.file_name)

    def _is_recorded(self, source: str, line: str) -> bool:
        """Tell whether the journal has this very line: a repeated run must not make it grow."""
        if source not in self._entries:
            return False
        with self._journal.open("rb") as journal:
            journal.seek(self._entries[source][0])
            return journal.readline() == line.encode("ascii")

    def _finish(self) -> None:
        if self.format.write_index is not None:
            annotations = (annotation for _, annotation in self.annotations())
            self.format.write_index(self.directory, self.classes, annotations)


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
    _check_labels(str(first[0]), first[1], check_classes(classes))
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
    path = directory / _JOURNAL
    sources = {}
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        with reading(f"{path}, line {number}", "the journal of a data set"):
            entry = json.loads(line)
            # Data sets from before 0.1 state no path.
            sources[_stem(entry["annotation"]["file_name"])] = Path(entry.get("path") or entry["source"])
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


def _holds_files(directory: Path, *, besides: Collection[str]) -> bool:
    return any(path.name not in besides for path in directory.iterdir())


def _is_continued(directory: Path, there: Any, state: dict[str, Any]) -> bool:
    """Tell whether the data set in a directory is continued; False: it has no image, and its state is replaced.

    Raises:
        OutputError: It is another data set.
    """
    if not isinstance(there, dict) or there.get("schema") != _SCHEMA:
        raise OutputError(f"{directory}: holds a data set of another version; use another folder")
    # Data sets of version 0.2 and before state no tolerance.
    there = {"tolerance": state["tolerance"], **there}
    keys = {"format": "format", "classes": "class map", "origin": "origin", "tolerance": "tolerance of polygons"}
    others = [key for key in keys if there.get(key) != state[key]]
    if others and _has_image(directory):
        key = others[0]
        raise OutputError(
            f"{directory}: holds a data set of another {keys[key]} ({shorten(there.get(key))}, not "
            f"{shorten(state[key])}); use another folder"
        )
    if "format" in others and _holds_files(directory, besides={_STATE.name, CLASS_MAP}):
        raise OutputError(f"{directory}: holds files of an empty data set of another format; use another folder")
    return not others


def _has_image(directory: Path) -> bool:
    """Tell whether the journal of a data set has a complete line."""
    path = directory / _JOURNAL
    return path.exists() and b"\n" in path.read_bytes()


def _check_labels(source: str, segmentation: Segmentation, classes: Sequence[str]) -> None:
    """Check that the class map has every label of a result.

    Raises:
        OutputError: It lacks one.
    """
    if strangers := sorted(set(segmentation.labels) - set(classes)):
        raise OutputError(
            f"{source}: {_list(strangers)} {'is' if len(strangers) == 1 else 'are'} not in the class map, which has "
            f"{_list(classes)}: name all labels in `classes`, or write two data sets"
        )


def _list(names: Sequence[str]) -> str:
    """List a few names, and count the others."""
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(map(repr, names[:5])) + more


def _stem(name: str) -> str:
    return name.rpartition(".")[0] or name
