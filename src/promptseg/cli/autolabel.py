"""`promptseg autolabel`: a folder of images and a list of names in, a data set out."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import track

from promptseg.cli.images import counted
from promptseg.cli.options import FORMAT_HELP, Device, Engine, EngineChoice, Model, Offline, Threshold


def autolabel(
    folder: Annotated[Path, typer.Argument(help="The images right in it are labeled.")],
    names: Annotated[Path, typer.Option(help="Text file of the names to look for, one a line: the class map.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the data set: new, or one to go on with.")],
    format: Annotated[
        str,
        typer.Option("--format", "-f", help=f"What to write: {FORMAT_HELP}"),
    ],
    model: Model = None,
    threshold: Threshold = None,
    device: Device = "auto",
    engine: Engine = EngineChoice.auto,
    offline: Offline = False,
) -> None:
    """Label a folder of images by names, in the format of another tool.

    Run it again to go on after a break, or to add new images of the folder. preview.png shows what was labeled.

    Exit code 1: some images failed. Each is named on stderr and in failures.txt, the others are done.
    """
    from promptseg.formats.table import find_format
    from promptseg.labeling import FAILURES, list_folder, read_names
    from promptseg.labeling import autolabel as label_folder

    # What is wrong with the request is said before a model is loaded for it.
    labels = read_names(names)
    find_format(format)
    list_folder(folder)

    from promptseg.predictor import load
    from promptseg.weights import progress_bar

    with progress_bar() as report:
        predictor = load(
            model, device=device, engine=engine.value, offline=offline, threshold=threshold, progress=report
        )
    done = label_folder(predictor, folder, labels, out, format=format, watch=_watch)
    for error in done.failures.values():
        typer.echo(f"error: {error}", err=True)
    shown = f"; see {done.preview}" if done.preview is not None else ""
    typer.echo(f"{counted(done.num_images)} labeled, {done.num_done_before} of them before{shown}")
    if done.failures:
        typer.echo(f"{counted(len(done.failures))} failed, see {out / FAILURES}", err=True)
        raise typer.Exit(1)


def _watch(paths: Sequence[Path]) -> Iterator[Path]:
    console = Console(stderr=True)
    yield from track(paths, "labeling", console=console, transient=True, disable=not console.is_terminal)
