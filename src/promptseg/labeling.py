"""Label a folder of images with a list of names, and write a data set in the format of another tool.

An interrupted run continues where it stopped. An image that fails is reported and skipped; the next run tries it again.
"""

import filecmp
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from promptseg.batch.data_set_output import open_data_set
from promptseg.batch.many_images import ReportImages, Runner, segment_images
from promptseg.batch.pointing import Pointing, point_at, read_pointing
from promptseg.batch.requests import AskedClass, ClassesRequest
from promptseg.batch.sources import BatchImage
from promptseg.errors import ImageError, PromptError
from promptseg.formats.base import write_png
from promptseg.formats.dataset_writer import DatasetWriter
from promptseg.formats.preview import draw_preview, draw_tile
from promptseg.image_files import expand_home, list_images
from promptseg.images import read_image
from promptseg.language.lists import check_no_list_mark, find_list
from promptseg.prompts import QueryLike
from promptseg.skipped_files import SkippedFile

if TYPE_CHECKING:
    from promptseg.predictor import Predictor

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
        num_left_out: Number of images that nothing was asked about: only points were given, and none for them.
    """

    num_images: int
    num_done_before: int
    failures: dict[str, str]
    preview: Path | None
    num_left_out: int = 0


def read_names(path: str | Path) -> tuple[str, ...]:
    """Read a list of names, one per line; empty lines, and those that begin with "#", are skipped.

    Raises:
        PromptError: The file can't be read, has no name, has a name twice, or several names in a line; the message
            names file and line.
    """
    numbers = read_lines(path)
    for name, number in numbers.items():
        if listed := find_list(name):
            raise PromptError(f"{path}, line {number}: {name!r:.80} lists {len(listed)} names; write one per line")
    return tuple(numbers)


def read_lines(path: str | Path) -> dict[str, int]:
    """Read the lines of a list of names, and their numbers; empty lines, and those that begin with "#", are skipped.

    Raises:
        PromptError: The file can't be read, has no line, one twice, or one with the mark of a list; the message names
            file and line.
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
        if not name or name.startswith("#"):
            continue
        check_no_list_mark(name, f"{path}, line {number}")
        if name in first_lines:
            raise PromptError(f"{path}, line {number}: {name!r} is in line {first_lines[name]} already")
        first_lines[name] = number
    if not first_lines:
        raise PromptError(f"{path}: no name; write one per line, such as 'cat'")
    return first_lines


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
    names: Sequence[QueryLike | AskedClass],
    directory: str | Path,
    *,
    format: str,
    tolerance: float | None = None,
    points: str | Path | Pointing | None = None,
    runner: Runner | None = None,
    report: ReportImages | None = None,
    watch: Callable[[Sequence[Path]], Iterable[Path]] = iter,
) -> Labeled:
    """Segment every image of a folder by a list of names, and write a data set.

    Args:
        predictor: The loaded model; `promptseg.load` returns it.
        folder: A folder; the images directly in it are labeled.
        names: What to segment; their labels are the class map. `labeling.read_names` reads phrases from a file,
            `batch.AskedClass.named` gives a class several wordings. May be empty where `points` is given.
        directory: New, empty, or the output of an earlier run with the same arguments, which is continued. Besides the
            data set, `preview.png` shows up to 24 images of it, and `failures.txt` lists the images that failed.
        format: As `promptseg.write` takes it.
        tolerance: Of polygons, as `promptseg.write` takes it.
        points: Points and boxes of single images, a file or what `batch.pointing.read_pointing` read; an image is named
            as in the folder. What is pointed at chooses among what the name finds; a name without points finds all.
            Images whose points changed since an earlier run are labeled again.
        runner: Where the images are segmented, such as `batch.Pool(8)`; None: in this process.
        report: Told after each image how many of this run are done, and how many it has.
        watch: Receives the images that are left to do, and yields them one by one.

    Returns:
        The numbers of images, and the failures.

    Raises:
        ImageError: There is no such folder, or no image in it.
        PromptError: A name is malformed, all of them mean the background, the model does not take them, or the points
            are malformed, of another image, or of a label that is no name.
        OutputError: There is no such format, a name comes twice, the directory holds other files, or a file can't be
            written.
    """
    paths = list_folder(folder)
    # before the data set exists: a request that is refused leaves nothing behind
    pointing = points if isinstance(points, Pointing) else Pointing("", {}) if points is None else read_pointing(points)
    request = _read_request(names, pointing)
    request.check(predictor)
    images = point_at([BatchImage(path.name, path) for path in paths], pointing)
    asked = [image for image in images if request.queries_of(image)]
    for image in asked:
        if image.pointing:
            predictor.check_queries(request.queries_of(image))
    with open_data_set(
        expand_home(directory), predictor, request, asked, format=format, tolerance=tolerance
    ) as data_set:
        num_before = len(data_set.writer)
        sources = {_choose_source(image.file, data_set.writer): image for image in asked}
        segment_images(
            predictor,
            [replace(image, id=source) for source, image in sources.items()],
            request,
            data_set,
            runner=runner,
            report=report,
            watch=lambda to_do: _watch(to_do, watch),
        )
        _write_preview(data_set.writer, {source: image.file for source, image in sources.items()})
        preview = data_set.writer.directory / PREVIEW
        return Labeled(
            len(data_set.writer),
            num_before,
            data_set.failures,
            preview if preview.exists() else None,
            len(images) - len(asked),
        )


def _read_request(names: Sequence[QueryLike | AskedClass], pointing: Pointing) -> ClassesRequest:
    """Read the classes; without names, they are the labels of what is pointed at.

    Raises:
        PromptError: A name is malformed, or something that is pointed at has a label that is no name.
    """
    labels = dict.fromkeys(query.label for queries in pointing.queries.values() for query in queries)
    if pointing.queries and not names:
        return ClassesRequest(tuple(AskedClass(label, ()) for label in labels))
    request = ClassesRequest.read(names)
    if strangers := [label for label in labels if label not in request.labels]:
        raise PromptError(
            f"{pointing.where}: the label {strangers[0]!r} is none of the names: {', '.join(request.labels)}"
        )
    return request


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


def _watch(images: Sequence[BatchImage], watch: Callable[[Sequence[Path]], Iterable[Path]]) -> Iterator[BatchImage]:
    by_path = {image.file: image for image in images}
    for path in watch(list(by_path)):
        yield by_path[path]


def _write_preview(writer: DatasetWriter, paths: dict[str, Path]) -> None:
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
        write_png(writer.directory / PREVIEW, draw_preview(tiles))
