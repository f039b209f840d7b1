"""Label a folder of images: names in, a data set in the format of another tool out.

A run that was broken off goes on where it was, and an image that fails is named and passed over; the next run tries it
again.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from promptseg.errors import ImageError, PromptError
from promptseg.formats.base import check_classes, write_png, write_text
from promptseg.formats.dataset import DatasetWriter
from promptseg.formats.preview import draw_preview, draw_tile
from promptseg.formats.table import find_format
from promptseg.images import list_images, read_image
from promptseg.predictor import Predictor
from promptseg.prompts import to_queries

FAILURES = "failures.txt"
PREVIEW = "preview.png"

_NUM_PREVIEWED = 24


@dataclass(frozen=True)
class Labeled:
    """What a run of `autolabel` left.

    Attributes:
        num_images: In the data set now.
        num_done_before: Of these, from earlier runs.
        failures: Why an image of the folder could not be labeled, by its name.
        preview: The file that shows labeled images; None: there is none yet.
    """

    num_images: int
    num_done_before: int
    failures: dict[str, str]
    preview: Path | None


def read_names(path: str | Path) -> tuple[str, ...]:
    """Read a list of names, one a line; empty lines are passed over.

    Raises:
        PromptError: The file can't be read, holds no name, or holds one twice; the message names file and line.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise PromptError(f"{path}: can't be read as UTF-8 text: {error}") from error
    first_lines: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        name = line.strip()
        if name in first_lines:
            raise PromptError(f"{path}, line {number}: {name!r} stands in line {first_lines[name]} already")
        if name:
            first_lines[name] = number
    if not first_lines:
        raise PromptError(f"{path}: no name; write one a line, such as 'cat'")
    return tuple(first_lines)


def list_folder(folder: str | Path) -> list[Path]:
    """List the images right in a folder, sorted by name.

    Raises:
        ImageError: There is no such folder, or no image in it.
    """
    if not Path(folder).is_dir():
        raise ImageError(f"{folder}: no such folder; autolabel takes a folder of images")
    return list_images([folder])


def autolabel(
    predictor: Predictor,
    folder: str | Path,
    names: Sequence[str],
    directory: str | Path,
    *,
    format: str,
    watch: Callable[[Sequence[Path]], Iterable[Path]] = iter,
) -> Labeled:
    """Find things by their names in every image of a folder, and write a data set.

    Args:
        predictor: Who looks.
        folder: Images right in it are taken.
        names: What to look for, and the class map.
        directory: New, empty, or what an earlier run of the same request left, which is gone on with. Besides the data
            set, `preview.png` shows up to 24 images of it, and `failures.txt` names the images that failed.
        format: As `promptseg.write` takes it.
        watch: Given the images that are left to do, passes them on one by one; to show how far it is.

    Raises:
        ImageError: There is no such folder, or no image in it.
        PromptError: A name is malformed.
        OutputError: There is no such format, a name comes twice, the directory holds something else, or a file can't be
            written.
    """
    paths = list_folder(folder)
    queries = to_queries(names)
    find_format(format)
    classes = check_classes([query.label for query in queries])
    directory = Path(directory)
    failures: dict[str, str] = {}
    with DatasetWriter(directory, format=format, classes=classes, origin=predictor.origin) as writer:
        num_before = len(writer)
        for path in watch([path for path in paths if path.name not in writer]):
            try:
                writer.add(path.name, predictor.segment(path, queries), path=path)
            except ImageError as error:
                failures[path.name] = str(error)
                _write_failures(directory, failures)
        _write_failures(directory, failures)
        _write_preview(directory, writer, {path.name: path for path in paths})
        preview = directory / PREVIEW
        return Labeled(len(writer), num_before, failures, preview if preview.exists() else None)


def _write_failures(directory: Path, failures: dict[str, str]) -> None:
    path = directory / FAILURES
    if failures:
        write_text(path, "".join(f"{name}\t{' '.join(error.split())}\n" for name, error in failures.items()))
    else:
        path.unlink(missing_ok=True)


def _write_preview(directory: Path, writer: DatasetWriter, paths: dict[str, Path]) -> None:
    """Show images from all over the data set, those that are in their folder as they were."""
    step = max(1, -(-len(writer) // _NUM_PREVIEWED))
    tiles = []
    for index, (source, annotation) in enumerate(writer.annotations()):
        if index % step or source not in paths:
            continue
        try:
            image_rgb = read_image(paths[source])
        except ImageError:  # it was labeled by an earlier run, and has been damaged since
            continue
        if image_rgb.shape[:2] == annotation.size_hw:
            tiles.append((annotation.file_name, draw_tile(image_rgb, annotation, writer.classes)))
    if tiles:
        write_png(directory / PREVIEW, draw_preview(tiles))
