"""Write a data set image by image; a run that was interrupted goes on.

`.promptseg/` in the data set's directory keeps what the format itself may lose: `dataset.json`, which identifies the
data set, and `pictures.jsonl`, one line for each image that is done. A line is written after the files of its image, so
an image without a line is written again.
"""

import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from promptseg._wording import shorten
from promptseg.errors import DataError, OutputError
from promptseg.formats.annotation import Annotation
from promptseg.formats.base import CLASS_MAP, DataSetImage, check_classes, read_json, write_class_map, write_json
from promptseg.formats.names import OutputNames
from promptseg.formats.table import find_format, polygon_tolerance
from promptseg.image_files import expand_home
from promptseg.ops.claimed_folder import claim_folder
from promptseg.results import Segmentation

_SCHEMA = "promptseg/dataset-1"
_STATE = Path(".promptseg")
STATE_FILE = _STATE / "dataset.json"
JOURNAL_FILE = _STATE / "pictures.jsonl"


@dataclass(frozen=True)
class _Entry:
    """An image that is done.

    Attributes:
        offset: Of its last line in the journal.
        file_name: In the data set.
        prompts: Identifies the prompts of this image alone; "": it had none.
    """

    offset: int
    file_name: str
    prompts: str


class DatasetWriter:
    """Add images to a data set; use it in a `with` block, which writes the files that span all images at its end.

    Args:
        directory: New, empty, or a data set of the same format, classes, origin and tolerance, which is continued. A
            data set of the same format that holds no image yet is replaced.
        format: A name in `formats.table.FORMATS`.
        classes: The class map.
        origin: Source of the annotations, such as a model and its threshold; one data set has one origin.
        sources: Those that will be added, as far as they are known: their names, and their order in files that span all
            images, then do not depend on the order in which they are added.
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
        self._journal = self.directory / JOURNAL_FILE
        state: dict[str, Any] = {
            "schema": _SCHEMA,
            "format": format,
            "classes": list(self.classes),
            "origin": origin,
            "tolerance": polygon_tolerance(format, tolerance),
        }
        with ExitStack() as stack:
            stack.enter_context(claim_folder(self.directory, self.directory / STATE_FILE, holds="data set"))
            self._open(state, keep_tolerance=tolerance is None)
            self._claim = stack.pop_all()
        self.format = find_format(format, tolerance=state["tolerance"], stuff=stuff)
        self._entries: dict[str, _Entry] = {}
        for offset, line in self._lines():
            entry = _Entry(offset, line["annotation"]["file_name"], line.get("prompts", ""))
            self._entries[line["source"]] = entry
        listed = tuple(sources)
        self._order = {source: number for number, source in enumerate(listed)}
        self._names = OutputNames(
            (source for source in listed if source not in self._entries),
            taken=(stem_of(entry.file_name) for entry in self._entries.values()),
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
            self._claim.close()

    def __contains__(self, source: object) -> bool:
        return source in self._entries

    def __len__(self) -> int:
        return len(self._entries)

    def prompts_of(self, source: str) -> str:
        """Return what identifies the prompts that an image of the data set was labeled by, besides the request."""
        return self._entries[source].prompts

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
        annotation = Annotation.from_results(segmentation, "", segmentation.size_hw)
        check_labels(source, segmentation.labels, self.classes)
        return self.add_annotation(source, annotation, DataSetImage.of_pixels(segmentation.image_rgb, path))

    def add_annotation(
        self, source: str, annotation: Annotation, image: DataSetImage, *, prompts: str = ""
    ) -> Annotation:
        """Write one image and what is in it; an image of the same source is replaced.

        Args:
            source: As `add`.
            annotation: What is in the image; its file name is chosen here.
            image: The image.
            prompts: Identifies the prompts of this image alone.

        Returns:
            What was written.

        Raises:
            OutputError: A label is not in the class map, or a file can't be written.
            ImageError: The format can't hold this image.
        """
        check_labels(source, (region.label for region in annotation.regions), self.classes)
        annotation = replace(annotation, file_name=self._name(source, image))
        # First the step that may refuse the image.
        if self.format.write_image is not None:
            self.format.write_image(self.directory, annotation, self.classes, image)
        if self.format.images is not None:
            folder = self.directory / self.format.images
            image.save(folder / annotation.file_name)
            if source in self._entries and (before := self._entries[source].file_name) != annotation.file_name:
                (folder / before).unlink(missing_ok=True)
        self._record(source, annotation, image.path, prompts)
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
                journal.seek(self._entries[source].offset)
                stated = json.loads(journal.readline()).get("path")
        except OSError as error:
            raise OutputError(f"{self._journal}: can't be read: {error.strerror or error}") from error
        return Path(stated) if isinstance(stated, str) else None

    def annotations(self) -> Iterator[tuple[str, Annotation]]:
        """Yield the source and the annotation of every image: in the order of `sources` if these name every image, else
        in the order in which they were added.
        """
        ordered = list(self._entries)
        if self._entries.keys() <= self._order.keys():
            ordered.sort(key=self._order.__getitem__)
        with self._journal.open("rb") as journal:
            for source in ordered:
                journal.seek(self._entries[source].offset)
                yield source, Annotation.from_dict(json.loads(journal.readline())["annotation"])

    def _open(self, state: dict[str, Any], *, keep_tolerance: bool) -> None:
        """Write the state of a new data set, or compare that of the one that is continued.

        Args:
            state: Of this data set; gets the tolerance of the one that is continued.
            keep_tolerance: No tolerance was asked for.
        """
        path = self.directory / STATE_FILE
        there = read_json(path) if path.exists() else None
        if keep_tolerance and isinstance(there, dict) and there.get("format") == state["format"]:
            state["tolerance"] = polygon_tolerance(self.format.name, there.get("tolerance"))
        if there is None or not _is_continued(self.directory, there, state):
            write_json(path, state)
        write_class_map(self.directory, self.classes)
        self._journal.touch()
        self._cut_broken_line()

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
        known = source in self._entries
        stem = stem_of(self._entries[source].file_name) if known else self._names.choose(source)
        return stem + (image.kept_suffix or ".png")

    def _record(self, source: str, annotation: Annotation, path: Path | None, prompts: str) -> None:
        # The path, because some formats hold no images.
        where = None if path is None else str(path.absolute())
        line = {"source": source, "path": where, "annotation": annotation.to_dict()}
        if prompts:
            line["prompts"] = prompts
        written = f"{json.dumps(line)}\n".encode("ascii")
        try:
            if self._is_recorded(source, written):
                return
            with self._journal.open("ab") as journal:
                offset = journal.tell()
                journal.write(written)
        except OSError as error:
            raise OutputError(f"{self._journal}: can't be written: {error.strerror or error}") from error
        self._entries[source] = _Entry(offset, annotation.file_name, prompts)

    def _is_recorded(self, source: str, line: bytes) -> bool:
        """Tell whether the journal has this very line: a repeated run must not make it grow."""
        if source not in self._entries:
            return False
        with self._journal.open("rb") as journal:
            journal.seek(self._entries[source].offset)
            return journal.readline() == line

    def _finish(self) -> None:
        if self.format.write_index is not None:
            annotations = (annotation for _, annotation in self.annotations())
            self.format.write_index(self.directory, self.classes, annotations)


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
    path = directory / JOURNAL_FILE
    return path.exists() and b"\n" in path.read_bytes()


def check_labels(source: str, labels: Iterable[str], classes: Sequence[str]) -> None:
    """Check that the class map has every label of an image.

    Raises:
        OutputError: It lacks one.
    """
    if strangers := sorted(set(labels) - set(classes)):
        raise OutputError(
            f"{source}: {_list(strangers)} {'is' if len(strangers) == 1 else 'are'} not in the class map, which has "
            f"{_list(classes)}: name all labels in `classes`, or write two data sets"
        )


def _list(names: Sequence[str]) -> str:
    """List a few names, and count the others."""
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(map(repr, names[:5])) + more


def stem_of(name: str) -> str:
    """Return a file name without its last suffix."""
    return name.rpartition(".")[0] or name
