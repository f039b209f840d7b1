"""Image by image: say what was found, write it, and go on where one image fails."""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from promptseg.errors import ImageError, OutsideImageError

if TYPE_CHECKING:
    from promptseg.results import Segmentation


def check_formats(formats: Sequence[str], out: Path | None) -> None:
    """Refuse formats that there are not, or that have no place to go to.

    Raises:
        OutputError: There is no such format.
    """
    from promptseg.formats.table import find_format

    for name in formats:
        find_format(name)
    if formats and out is None:
        raise typer.BadParameter("say where to with --out", param_hint="--format")


def segment_images(
    paths: Sequence[Path],
    segment: "Callable[[Path], Segmentation]",
    save: "Callable[[Segmentation, Path], str]",
    *,
    out: Path | None,
    formats: Sequence[str],
    classes: Sequence[str],
    origin: str,
    as_json: bool,
) -> None:
    """Segment images one by one; say what was found on stdout, and on stderr what was written and what failed.

    Args:
        paths: The images.
        segment: Finds things in one.
        save: Writes a result to a folder and says what it wrote; asked where there is a place to write to, but no
            format.
        out: A data set for each format goes in here, or a folder for each image; None: nothing is written.
        formats: See `check_formats`.
        classes: Of the data sets.
        origin: Likewise.
        as_json: One line of JSON for each image on stdout, not lines for people.

    Raises:
        Exit: With code 1, after all is done: an image could not be read, or what was asked does not lie in it.
        PromptsegError: What concerns all images.
    """
    from promptseg.formats.dataset import DatasetWriter

    num_failed = 0
    folders = name_folders(paths)
    console = Console(stderr=True)
    columns = (TextColumn("segmenting"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    is_quiet = not console.is_terminal or len(paths) == 1
    with ExitStack() as stack:
        writers = [
            stack.enter_context(DatasetWriter(out / name, format=name, classes=classes, origin=origin))
            for name in formats
            if out is not None
        ]
        progress = stack.enter_context(Progress(*columns, console=console, disable=is_quiet, transient=True))
        for path in progress.track(paths):
            try:
                found = segment(path)
                for writer in writers:
                    writer.add(str(path), found, path=path)
            except (ImageError, OutsideImageError) as error:
                num_failed += 1
                said = str(error) if str(path) in str(error) else f"{path}: {error}"
                typer.echo(f"error: {said}", err=True)
                if as_json:
                    typer.echo(json.dumps({"image": str(path), "picture": str(path), "error": said}, ensure_ascii=False))
                continue
            if as_json:
                typer.echo(json.dumps({"image": str(path), "picture": str(path), **found.to_dict()}, ensure_ascii=False))
            else:
                typer.echo(describe(path, found))
            if out is not None and not writers:
                typer.echo(f"written: {save(found, out / folders[path])}", err=True)
    for writer in writers:
        typer.echo(f"written: {writer.directory}, {counted(len(writer))} as {writer.format.name}", err=True)
    if num_failed:
        typer.echo(f"{num_failed} of {counted(len(paths))} failed", err=True)
        raise typer.Exit(1)


def counted(number: int) -> str:
    """Write a number of images."""
    return f"{number} image{'' if number == 1 else 's'}"


def name_folders(paths: Sequence[Path]) -> dict[Path, str]:
    """Give each image a folder name of its own: its stem, or its whole name and a number where stems clash.

    Names that differ in case only clash too: some file systems take them for one.
    """
    stems = Counter(path.stem.casefold() for path in paths)
    names: dict[Path, str] = {}
    taken: set[str] = set()
    for path in paths:
        name = path.stem if stems[path.stem.casefold()] == 1 else path.name.replace(".", "-")
        while name.casefold() in taken:
            name += "-2"
        taken.add(name.casefold())
        names[path] = name
    return names


def describe(path: Path, found: "Segmentation") -> str:
    """Say in a few lines what was found: presence, label, objects, share of the image."""
    width = max(len(result.label) for result in found)
    lines = [str(path)]
    for result in found:
        if result.is_present:
            objects = "1 object" if len(result.instances) == 1 else f"{len(result.instances)} objects"
            said = f"{objects}, {result.mask.mean():.1%} of the image"
        else:
            said = "absent"
        lines.append(f"  {result.presence:.2f}  {result.label:<{width}}  {said}")
    return "\n".join(lines)
