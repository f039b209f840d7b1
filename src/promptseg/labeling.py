"""Label a folder of images with a list of names, and write a data set in the format of another tool.

An interrupted run continues where it stopped. An image that fails is reported and skipped; the next run tries it again.
"""

import filecmp
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from promptseg.errors import ImageError, PromptError
from promptseg.formats.base import write_png, write_text
from promptseg.formats.dataset import DatasetWriter
from promptseg.formats.preview import draw_preview, draw_tile
from promptseg.image_files import expand_home, list_images
from promptseg.images import read_image
from promptseg.language.lists import find_list
from promptseg.skipped_files import SkippedFile

if TYPE_CHECKING:
    from promptseg.predictor import Predictor

FAILURES = "failures.txt"
PREVIEW = "preview.png"

_NUM_PREVIEWED = 24


@dataclass(frozen=True)
class Labeled:
    """The outcome of `autolabel`.

    Attributes:
        num_images: Number of images in the data set now.
        num_done_before: Number of these that earlier runs labeled.
        failures: Error message for each image of the folder that could not be labeled, by file name.
        preview: The file that shows labeled images; None: there is none yet.
    """

    num_images: int
    num_done_before: int
    failures: dict[str, str]
    preview: Path | None


def read_names(path: str | Path) -> tuple[str, ...]:
    """Read a list of names, one per line; empty lines, and those that begin with "#", are skipped.

    Raises:
        PromptError: The file can't be read, has no name, has a name twice, or several names in a line; the message
            names file and line.
    """
    try:
        lines = expand_home(path).read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise PromptError(f"{path}: is no UTF-8 text (byte {error.start}); save it as UTF-8") from error
    except FileNotFoundError as error:
        raise PromptError(f"{path}: no such file; it holds the names, one per line") from error
    except OSError as error:
        raise PromptError(f"{path}: can't be read: {error.strerror or error}") from error
    first_lines: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        name = line.strip()
        if name.startswith("#"):
            continue
        if listed := find_list(name):
            raise PromptError(f"{path}, line {number}: {name!r:.80} lists {len(listed)} names; write one per line")
        if name in first_lines:
            raise PromptError(f"{path}, line {number}: {name!r} is in line {first_lines[name]} already")
        if name:
            first_lines[name] = number
    if not first_lines:
        raise PromptError(f"{path}: no name; write one per line, such as 'cat'")
    return tuple(first_lines)


def list_folder(folder: str | Path, *, skipped: list[SkippedFile] | None = None) -> list[Path]:
    """List the images directly in a folder, sorted by name; `skipped` receives whatever else it holds.

    Raises:
        ImageError: There is no such folder, or no image in it.
    """
    if not expand_home(folder).is_dir():
        raise ImageError(f"{folder}: no such folder; autolabel takes a folder of images")
    return list_images([folder], skipped=skipped)


def autolabel(
    predictor: "Predictor",
    folder: str | Path,
    names: Sequence[str],
    directory: str | Path,
    *,
    format: str,
    tolerance: float | None = None,
    watch: Callable[[Sequence[Path]], Iterable[Path]] = iter,
) -> Labeled:
    """Segment every image of a folder by a list of names, and write a data set.

    Args:
        predictor: The loaded model; `promptseg.load` returns it.
        folder: A folder; the images directly in it are labeled.
        names: The phrases to segment, which are also the class map; `labeling.read_names` reads them from a file.
        directory: New, empty, or the output of an earlier run with the same arguments, which is continued. Besides the
            data set, `preview.png` shows up to 24 images of it, and `failures.txt` lists the images that failed.
        format: As `promptseg.write` takes it.
        tolerance: Of polygons, as `promptseg.write` takes it.
        watch: Receives the images that are left to do, and yields them one by one; for a progress bar.

    Returns:
        The numbers of images, and the failures.

    Raises:
        ImageError: There is no such folder, or no image in it.
        PromptError: A name is malformed, all of them mean the background, or the model takes no phrases.
        OutputError: There is no such format, a name comes twice, the directory holds other files, or a file can't be
            written.
    """
    paths = list_folder(folder)
    # before the data set exists: a request that is refused leaves nothing behind
    queries = predictor.check_queries(names)
    directory = expand_home(directory)
    failures: dict[str, str] = {}
    with DatasetWriter(
        directory,
        format=format,
        classes=[query.label for query in queries],
        origin=predictor.origin,
        sources=[path.name for path in paths],
        tolerance=tolerance,
    ) as writer:
        num_before = len(writer)
        sources = {path: _choose_source(path, writer) for path in paths}
        for path in watch([path for path in paths if sources[path] not in writer]):
            try:
                writer.add(sources[path], predictor.segment(path, queries), path=path)
            except ImageError as error:
                failures[path.name] = str(error)
                write_failures(directory, failures)
        write_failures(directory, failures)
        _write_preview(directory, writer, {source: path for path, source in sources.items()})
        preview = directory / PREVIEW
        return Labeled(len(writer), num_before, failures, preview if preview.exists() else None)


def _choose_source(path: Path, writer: DatasetWriter) -> str:
    """Name an image in a data set: by its file, with its folders where an image of another folder has that name."""
    parts = path.absolute().parts
    for number in range(1, len(parts)):
        source = "/".join(parts[-number:])
        if not _is_another(path, writer.path_of(source)):
            break
    return source


def _is_another(path: Path, labeled: Path | None) -> bool:
    """Whether a file that was labeled is still there, and holds another image; a folder may have been moved."""
    if labeled is None or labeled == path.absolute() or not labeled.is_file():
        return False
    try:
        return not filecmp.cmp(labeled, path, shallow=False)
    except OSError:  # it can't be read, which is said when it is labeled
        return True


def write_failures(directory: Path, failures: dict[str, str]) -> None:
    """Write a line for each image that failed, its name and the message, to `FAILURES`; without any, remove the file.

    Raises:
        OutputError: The file can't be written.
    """
    path = directory / FAILURES
    if failures:
        write_text(path, "".join(f"{name}\t{' '.join(error.split())}\n" for name, error in failures.items()))
    else:
        path.unlink(missing_ok=True)


def _write_preview(directory: Path, writer: DatasetWriter, paths: dict[str, Path]) -> None:
    """Draw images from the whole data set, spread evenly; images that changed since are left out."""
    step = max(1, -(-len(writer) // _NUM_PREVIEWED))
    tiles = []
    for index, (source, annotation) in enumerate(writer.annotations()):
        if index % step or source not in paths:
            continue
        try:
            image_rgb = read_image(paths[source])
        except ImageError:  # an earlier run labeled it, and it was damaged since
            continue
        if image_rgb.shape[:2] == annotation.size_hw:
            tiles.append((annotation.file_name, draw_tile(image_rgb, annotation, writer.classes)))
    if tiles:
        write_png(directory / PREVIEW, draw_preview(tiles))
