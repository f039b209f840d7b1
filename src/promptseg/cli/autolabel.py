"""`promptseg autolabel`: a folder of images and a list of names in, a data set out."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import track

from promptseg._wording import counted
from promptseg.cli.checks import check_device, check_output_folder
from promptseg.cli.image_results import name_skipped
from promptseg.cli.loading import load_predictor
from promptseg.cli.options import FORMAT_HELP, Device, Engine, EngineChoice, Model, Offline, Threshold, Tolerance


def autolabel(
    folder: Annotated[Path, typer.Argument(help="Folder of the images; subfolders are not searched.")],
    names: Annotated[Path, typer.Option(help="Text file of the class names, one per line.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the data set: a new one, or one to continue.")],
    format: Annotated[
        str,
        typer.Option("--format", "-f", help=f"Format of the data set: {FORMAT_HELP}"),
    ],
    tolerance: Tolerance = None,
    model: Model = None,
    threshold: Threshold = None,
    device: Device = "auto",
    engine: Engine = EngineChoice.auto,
    offline: Offline = False,
) -> None:
    """Label a folder of images by names, in the format of another tool.

    Run it again to continue after an interruption, or to add new images of the folder. preview.png shows the labels.

    Exit code 1: some images failed; each is named on stderr and in failures.txt.
    """
    from promptseg.formats.table import find_format
    from promptseg.labeling import FAILURES, list_folder, read_names
    from promptseg.labeling import autolabel as label_folder
    from promptseg.skipped_files import SkippedFile

    labels = read_names(names)
    find_format(format, tolerance=tolerance)
    skipped: list[SkippedFile] = []
    list_folder(folder, skipped=skipped)
    name_skipped(skipped)
    check_device(device)
    check_output_folder(out)

    predictor = load_predictor(model, device=device, engine=engine.value, offline=offline, threshold=threshold)
    done = label_folder(predictor, folder, labels, out, format=format, tolerance=tolerance, watch=_watch)
    for error in done.failures.values():
        typer.echo(f"error: {error}", err=True)
    preview = f"; see {done.preview}" if done.preview is not None else ""
    typer.echo(f"{counted(done.num_images)} labeled, {done.num_done_before} of them before{preview}")
    if done.failures:
        typer.echo(f"{counted(len(done.failures))} failed, see {out / FAILURES}", err=True)
        raise typer.Exit(1)


def _watch(paths: Sequence[Path]) -> Iterator[Path]:
    console = Console(stderr=True)
    yield from track(paths, "labeling", console=console, transient=True, disable=not console.is_terminal)
