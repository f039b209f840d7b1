"""Data sets on disk: images are added one by one, and a run that was broken off goes on.

`.promptseg/` in the data set's directory keeps what the format itself may lose: `dataset.json`, which tells a data set
from others, and `images.jsonl`, one line for each image that is done. A line is written after the files of its
image, so what has no line is done again.
"""

import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from filelock import FileLock, Timeout

from promptseg.errors import DataError, OutputError
from promptseg.formats.annotation import Annotation
from promptseg.formats.base import DataSet, DataSetImage, check_classes, read_json, write_class_map, write_json
from promptseg.formats.table import find_format
from promptseg.results import Segmentation

_SCHEMA = "promptseg/dataset-1"
_STATE = Path(".promptseg")

# What some file system or some reader of labels takes for something else.
_UNSAFE = re.compile(r'[\x00-\x1f\x7f/\\:*?"<>|\ud800-\udfff]')


class DatasetWriter:
    """Adds images to a data set; use it in a `with` block, at whose end the files that span all images are written.

    Args:
        directory: New, empty, or a data set of the same format, classes and origin, which is gone on with.
        format: A name in `formats.table.FORMATS`.
        classes: The class map.
        origin: Who says what is in the images, such as a model and its threshold; one data set has one origin.

    Raises:
        OutputError: The format or the class map is none, or the directory holds something else, is being written by
            another process or can't be written.
    """

    def __init__(self, directory: str | Path, *, format: str, classes: Sequence[str], origin: str = "") -> None:
        self.directory = Path(directory)
        self.format = find_format(format)
        self.classes = check_classes(classes)
        self._journal = self.directory / _STATE / "pictures.jsonl"
        self._lock = FileLock(self.directory / _STATE / "lock")
        state = {"schema": _SCHEMA, "format": format, "classes": list(self.classes), "origin": origin}
        self._claim(state)
        # Where in the journal the last line of each image begins, and the file name it has in the data set.
        self._entries: dict[str, tuple[int, str]] = {}
        for offset, line in self._lines():
            self._entries[line["source"]] = (offset, line["annotation"]["file_name"])
        self._taken = Counter(_stem(file_name).casefold() for _, file_name in self._entries.values())

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
        """Write one image and what was found in it; one that is there already is replaced.

        Args:
            source: What the image is known by, such as its path in its folder; its last part names its files.
            segmentation: What was found.
            path: The image's file; None: there is none, its pixels are written as PNG where the format holds them.

        Returns:
            What was written.

        Raises:
            OutputError: A label is no class, or a file can't be written.
            ImageError: The format can't hold this image.
        """
        strangers = {result.label for result in segmentation} - set(self.classes)
        if strangers:
            raise OutputError(f"{source}: {min(strangers)!r} is no class of {self.directory}")
        image = DataSetImage(segmentation.image_rgb, path)
        annotation = Annotation.from_segmentation(segmentation, self._name(source, image))
        # First what may be refused.
        if self.format.write_image is not None:
            self.format.write_image(self.directory, annotation, self.classes, image)
        if self.format.images is not None:
            folder = self.directory / self.format.images
            image.save(folder / annotation.file_name)
            if source in self._entries and (before := self._entries[source][1]) != annotation.file_name:
                (folder / before).unlink(missing_ok=True)
        self._record(source, annotation)
        return annotation

    def annotations(self) -> Iterator[tuple[str, Annotation]]:
        """Yield what is known of every image, and what it is known by, in the order in which they were added."""
        with self._journal.open("rb") as journal:
            for source, (offset, _) in self._entries.items():
                journal.seek(offset)
                yield source, Annotation.from_dict(json.loads(journal.readline())["annotation"])

    def _claim(self, state: dict[str, Any]) -> None:
        path = self.directory / _STATE / "dataset.json"
        # What a run that was broken off at its very beginning leaves is no stranger.
        if self.directory.is_dir() and not path.exists() and _holds_others(self.directory):
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
            if path.exists():
                _check_same(self.directory, read_json(path), state)
            else:
                write_json(path, state)
            write_class_map(self.directory, self.classes)
            self._journal.touch()
            self._cut_broken_line()
            undo.pop_all()

    def _cut_broken_line(self) -> None:
        """Drop the end of a journal that was broken off within a line."""
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
        """Find the file name in the data set: the same as before, or one whose stem no other image has."""
        # Files whose names begin with a dot are hidden: no reader would find them.
        name = _UNSAFE.sub("_", source.replace("\\", "/").rpartition("/")[2]).lstrip(".") or "image"
        suffix = image.path.suffix if image.path is not None and image.keeps_its_file else ".png"
        if source in self._entries:
            return _stem(self._entries[source][1]) + suffix
        stem = _stem(name)
        if self._taken[stem.casefold()]:
            stem = name.replace(".", "-")
        while self._taken[stem.casefold()]:
            stem += "-2"
        return stem + suffix

    def _record(self, source: str, annotation: Annotation) -> None:
        line = json.dumps({"source": source, "annotation": annotation.to_dict()}) + "\n"
        try:
            with self._journal.open("ab") as journal:
                offset = journal.tell()
                journal.write(line.encode("ascii"))
        except OSError as error:
            raise OutputError(f"{self._journal}: can't be written: {error.strerror or error}") from error
        if source not in self._entries:
            self._taken[annotation.stem.casefold()] += 1
        self._entries[source] = (offset, annotation.file_name)

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
) -> Path:
    """Write results as a data set in the format of another tool.

    Args:
        images: Results by the image's path, or by any name where there is no such file; pairs may come lazily.
        directory: New, empty, or a data set of the same format, classes and origin, which the images are added to; a
            image that is there already is replaced.
        format: "coco", "coco-polygons", "coco-panoptic", "yolo", "labelstudio", "labelstudio-polygons", "labelme",
            "labelme-masks", "voc", "geojson", "png" or "npz"; docs/formats.md says what each one keeps.
        classes: The class map; None: the labels of the first result, in their order.
        origin: Who found it, in your words, where that is not one model. None: the model, the checkpoint and the
            threshold that every result states (`Segmentation.origin`); all have to state the same.

    Returns:
        The directory.

    Raises:
        OutputError: There is no image, no such format, a label is no class, results are of two checkpoints or
            thresholds, the directory holds something else, or a file can't be written.
        ImageError: The format can't hold an image.
    """
    items = _pairs(images)
    first = next(items, None)
    if first is None:
        raise OutputError("there is no image to write")
    if classes is None:
        classes = tuple(dict.fromkeys(result.label for result in first[1]))
    stated = first[1].origin
    claimed = stated if origin is None else origin
    with DatasetWriter(directory, format=format, classes=classes, origin=claimed) as writer:
        for source, segmentation in chain([first], items):
            if origin is None and segmentation.origin != stated:
                raise OutputError(
                    f"{source}: found by {segmentation.origin}, what was written before by {stated}: write two data "
                    "sets, or say with `origin` who found them all"
                )
            # Path.is_file raises for a name that is too long to be one.
            is_file = os.path.isfile(source)  # noqa: PTH113
            writer.add(str(source), segmentation, path=Path(source) if is_file else None)
    return Path(directory)


def read(directory: str | Path, *, format: str) -> DataSet:
    """Read a data set that `write` wrote, from the files of its format alone.

    Args:
        directory: Of the data set.
        format: As `write` was told.

    Raises:
        OutputError: There is no such format.
        DataError: A file is missing or malformed; the message names it.
    """
    return find_format(format).read(Path(directory))


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


def _holds_others(directory: Path) -> bool:
    return any(path.name != _STATE.name for path in directory.iterdir())


def _check_same(directory: Path, there: Any, state: dict[str, Any]) -> None:
    if not isinstance(there, dict) or there.get("schema") != _SCHEMA:
        raise OutputError(f"{directory}: holds a data set of another version; use another folder")
    for key, what in (("format", "format"), ("classes", "class map"), ("origin", "origin")):
        if there.get(key) != state[key]:
            raise OutputError(
                f"{directory}: holds a data set of another {what} ({_shorten(there.get(key))}, not "
                f"{_shorten(state[key])}); use another folder"
            )


def _shorten(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else text[:79] + "…"


def _stem(name: str) -> str:
    return name.rpartition(".")[0] or name
