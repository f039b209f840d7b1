"""Results of images, one by one: print them, write them, and continue where an image fails."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO, Generic, Protocol, TypeVar

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from promptseg._wording import counted
from promptseg.cli.checks import check_output_folder
from promptseg.cli.output import dump_json
from promptseg.errors import ImageError, OutsideImageError

if TYPE_CHECKING:
    from promptseg.results import Segmentation
    from promptseg.skipped_files import SkippedFile

# The argument that stands for standard input, and what it is called in outputs.
STDIN, STDIN_NAME = Path("-"), "stdin"

# Errors of one image; the others are done all the same. Any other error ends the command.
_IMAGE_ERRORS = (ImageError, OutsideImageError)


def find_images(paths: Sequence[str]) -> list[Path]:
    """List the images that arguments stand for, and check that at least one of them exists.

    "-" stays as it is: an image that is read from standard input. What folders and patterns hold besides images is
    counted and named on stderr.

    Raises:
        ImageError: None of the files exists, or a folder or pattern holds no image.
    """
    from promptseg.image_files import list_images
    from promptseg.skipped_files import SkippedFile

    skipped: list[SkippedFile] = []
    images = list_images(paths, skipped=skipped)
    name_skipped(skipped)
    if not any(image == STDIN or image.exists() for image in images):
        others = f" (nor the other {counted(len(images) - 1, 'file')})" if len(images) > 1 else ""
        raise ImageError(f"{images[0]}: no such file{others}")
    return images


def name_skipped(skipped: "Sequence[SkippedFile]") -> None:
    """Count and name on stderr what was found besides images."""
    from promptseg.skipped_files import describe_skipped

    for line in describe_skipped(skipped):
        typer.echo(line, err=True)


def check_outputs(out: Path | None, formats: Sequence[str], *, tolerance: float | None = None) -> None:
    """Check that the formats exist, and that there is a folder that can be written to.

    Raises:
        OutputError: There is no such format, or the folder can't be written to.
        BadParameter: An option has no effect without another one that is missing.
    """
    if tolerance is not None and not formats:
        raise typer.BadParameter("it is for the polygons of a data set: give its --format", param_hint="--tolerance")
    if formats:
        from promptseg.formats.table import find_format

        for name in formats:
            find_format(name, tolerance=tolerance)
        if out is None:
            raise typer.BadParameter("it needs a folder to write to: --out", param_hint="--format")
    check_output_folder(out)


class Describable(Protocol):
    """A result that JSON can hold: `promptseg.Segmentation`, and a panoptic map."""

    def to_dict(self) -> dict[str, Any]:
        """Describe it in JSON's own types."""
        ...


R = TypeVar("R", bound=Describable)


@dataclass(frozen=True)
class ResultKind(Generic[R]):
    """What a command does with the result of an image.

    Attributes:
        describe: Describes it in a few lines.
        to_segmentation: Gives what data sets hold of it.
        save: Writes its files to a folder, and names them.
        is_done: Whether a folder holds the files of the same request for an image already; None: images are never
            skipped, in data sets neither.
    """

    describe: Callable[[Path, R], str]
    to_segmentation: "Callable[[R], Segmentation]"
    save: Callable[[R, Path], str]
    is_done: Callable[[Path, Path], bool] | None = None


class ImageResults(Generic[R]):
    """The results of a command, image by image: on stdout, in data sets, and in a folder for each image."""

    def __init__(
        self,
        paths: Sequence[Path],
        *,
        out: Path | None,
        formats: Sequence[str],
        classes: Sequence[str],
        origin: str,
        as_json: bool,
        kind: ResultKind[R],
        tolerance: float | None = None,
        stuff: Sequence[str] | None = None,
    ) -> None:
        """Open the data sets.

        Args:
            paths: The images.
            out: A data set for each format goes in here, or a folder for each image; None: nothing is written.
            formats: Names of data set formats; see `check_outputs`.
            classes: Classes of the data sets.
            origin: What made the results, for the data sets.
            as_json: Print one line of JSON for each image on stdout, instead of lines for people.
            kind: What is done with a result.
            tolerance: Of polygons, as `promptseg.write` takes it.
            stuff: Classes without countable objects, as `DatasetWriter` takes them.

        Raises:
            OutputError: A data set can't be opened.
        """
        from promptseg.formats.dataset import DatasetWriter

        self._paths = paths
        self._as_json = as_json
        self._kind = kind
        self._out = out
        self._failures: dict[str, str] = {}
        self._num_done_before = 0
        self._folders = (
            {} if out is None or formats else {path: out / name for path, name in name_folders(paths, out).items()}
        )
        self._stack = ExitStack()
        self._writers = [
            self._stack.enter_context(
                DatasetWriter(
                    out / name,
                    format=name,
                    classes=classes,
                    origin=origin,
                    sources=tuple(map(_name_source, paths)),
                    tolerance=tolerance,
                    stuff=stuff,
                )
            )
            for name in formats
            if out is not None
        ]

    def __enter__(self) -> "ImageResults[R]":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.__exit__(kind, error, traceback)

    def segment_all(self, segment: Callable[["Path | BinaryIO"], R]) -> None:
        """Segment the images one by one; one that fails is named, and the others are done all the same.

        Args:
            segment: Segments an image: a path, or standard input, which can be read once.

        Raises:
            OutputError: A result can't be written.
        """
        for path in self._track():
            if self._was_done(path):
                self._num_done_before += 1
                continue
            try:
                result = segment(sys.stdin.buffer if path == STDIN else path)
                folder = self._add(path, result)
            except _IMAGE_ERRORS as error:
                self._fail(path, error)
                continue
            if folder is not None:
                typer.echo(f"written: {self._kind.save(result, folder)}", err=True)

    def _was_done(self, path: Path) -> bool:
        """Whether an earlier run has written all that this one is to write for an image."""
        if self._kind.is_done is None or self._out is None:
            return False
        if self._writers:
            return all(str(path) in writer for writer in self._writers)
        return self._kind.is_done(path, self._folders[path])

    def _track(self) -> Iterator[Path]:
        """Yield the images, with a progress bar on a terminal."""
        console = Console(stderr=True)
        columns = (TextColumn("segmenting"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        is_quiet = not console.is_terminal or len(self._paths) == 1
        with Progress(*columns, console=console, disable=is_quiet, transient=True) as progress:
            yield from progress.track(self._paths)

    def _add(self, path: Path, result: R) -> Path | None:
        """Write a result to the data sets and print it.

        Returns:
            The folder to save the image's own files to; None: they are not wanted.

        Raises:
            ImageError: A format needs the image, and it can't be read.
            OutputError: A data set can't be written.
        """
        if self._writers:
            segmentation = self._kind.to_segmentation(result)
            for writer in self._writers:
                writer.add(_name_source(path), segmentation, path=None if path == STDIN else path)
        if self._as_json:
            self._print_json(path, result.to_dict())
        else:
            typer.echo(self._kind.describe(path, result))
        return self._folders.get(path)

    def _fail(self, path: Path, error: Exception) -> None:
        """Name an image that failed."""
        message = str(error) if str(path) in str(error) else f"{path}: {error}"
        self._failures[str(path)] = message
        typer.echo(f"error: {message}", err=True)
        if self._as_json:
            self._print_json(path, {"error": message})

    def finish(self) -> None:
        """Name the data sets, what was done before and what failed on stderr, and list the failures in --out.

        Raises:
            Exit: With code 1: some images failed.
        """
        for writer in self._writers:
            typer.echo(f"written: {writer.directory}, {counted(len(writer))} as {writer.format.name}", err=True)
        if self._num_done_before:
            typer.echo(f"{counted(self._num_done_before)} done before: skipped", err=True)
        if self._out is not None and self._out.is_dir():
            from promptseg.labeling import write_failures

            write_failures(self._out, self._failures)
        if self._failures:
            typer.echo(f"{len(self._failures)} of {counted(len(self._paths))} failed", err=True)
            raise typer.Exit(1)

    def _print_json(self, path: Path, values: dict[str, object]) -> None:
        # "picture" is the name of "image" in version 0.1; it will be removed in 0.3.
        typer.echo(dump_json({"image": str(path), "picture": str(path), **values}))


def name_folders(paths: Sequence[Path], out: Path | None = None) -> dict[Path, str]:
    """Give each image a folder name of its own: its stem, with its folders before it where stems clash.

    Args:
        paths: The images.
        out: Where the folders go; one that holds the results of another image is left alone.
    """
    from promptseg.formats.names import OutputNames

    names = OutputNames(map(_name_source, paths))
    return {
        path: names.choose(_name_source(path), is_free=partial(_is_free, out=out, path=path))
        for path in dict.fromkeys(paths)
    }


def _is_free(name: str, *, out: Path | None, path: Path) -> bool:
    """Whether a folder of this name holds no results of another image than this one."""
    from promptseg.results.panoptic_files import PANOPTIC_FILE
    from promptseg.results.saved import RESULT_FILE, read_source

    if out is None:
        return True
    sources = (read_source(out / name / file) for file in (RESULT_FILE, PANOPTIC_FILE))
    return all(source is None or Path(source).absolute() == path.absolute() for source in sources)


def _name_source(path: Path) -> str:
    return STDIN_NAME if path == STDIN else str(path)


def describe(path: Path, result: "Segmentation", *, given_labels: Sequence[str] = ()) -> str:
    """Describe a result in a few lines: presence, label, number of objects, share of the image.

    Labels that the command gave itself are not said to be unknown words.
    """
    from promptseg.language.foreign import lacks_known_words

    width = max(len(query.caption) for query in result)
    lines = [str(path)]
    for query in result:
        if query.status == "absent":
            is_foreign = query.label not in given_labels and lacks_known_words(query.label)
            summary = "absent; none of its words is a known English noun" if is_foreign else "absent"
        elif not query.area:
            summary = f"{query.status}, but no mask of it was found"
        else:
            doubt = "unsure: " if query.status == "unsure" else ""
            summary = f"{doubt}{counted(len(query.instances), 'object')}, {query.mask.mean():.1%} of the image"
        lines.append(f"  {query.presence:.2f}  {query.caption:<{width}}  {summary}")
    return "\n".join(lines)
