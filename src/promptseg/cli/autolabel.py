"""`promptseg autolabel`: a folder of images and a list of names in, a data set out."""

from pathlib import Path
from typing import Annotated

import typer

from promptseg._wording import counted
from promptseg.cli.checks import check_output_folder, read_mask_value
from promptseg.cli.exemplar_options import FORM_HELP, collect_classes, read_name_file
from promptseg.cli.image_results import name_skipped
from promptseg.cli.loading import ModelChoice
from promptseg.cli.options import (
    FORMAT_HELP,
    Detector,
    Device,
    Engine,
    EngineChoice,
    Masker,
    MaskValueText,
    Model,
    Offline,
    Threshold,
    Tile,
    Tolerance,
)
from promptseg.cli.progress_bar import show_progress
from promptseg.errors import PromptError


def autolabel(
    folder: Annotated[Path, typer.Argument(help="Folder of the images; subfolders are not searched.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the data set: a new one, or one to continue.")],
    format: Annotated[
        str,
        typer.Option("--format", "-f", help=f"Format of the data set: {FORMAT_HELP}"),
    ],
    names: Annotated[
        Path | None,
        typer.Option(help="Text file of the classes, one per line; other wordings of a class after commas."),
    ] = None,
    text: Annotated[list[str] | None, typer.Option("--text", "-t", help="A class; repeat it for more.")] = None,
    exemplar: Annotated[list[str] | None, typer.Option("--exemplar", "-x", help=FORM_HELP)] = None,
    mask_value: MaskValueText = None,
    points: Annotated[
        Path | None,
        typer.Option(help="File of points and boxes of single images, JSON lines or CSV; docs/formats.md."),
    ] = None,
    workers: Annotated[
        int, typer.Option(min=1, help="Number of processes; each loads the model. 1: this process, on all cores.")
    ] = 1,
    tolerance: Tolerance = None,
    model: Model = None,
    detector: Detector = None,
    masker: Masker = None,
    threshold: Threshold = None,
    tile: Tile = None,
    device: Device = "auto",
    engine: Engine = EngineChoice.auto,
    offline: Offline = False,
) -> None:
    """Label a folder of images by names, in the format of another tool.

    Run it again to continue after an interruption, or to add new images of the folder. preview.png shows the labels.

    Exit code 1: some images failed; each is named on stderr and in failures.txt.
    """
    from promptseg.batch import Pool
    from promptseg.batch.pointing import read_pointing
    from promptseg.formats.failures import FAILURES
    from promptseg.formats.table import find_format
    from promptseg.labeling import autolabel as label_folder
    from promptseg.labeling import list_folder
    from promptseg.skipped_files import SkippedFile

    classes = read_name_file(names)
    asked = collect_classes(classes, text or (), exemplar or (), mask_value=read_mask_value(mask_value))
    pointing = None if points is None else read_pointing(points)
    if pointing is None and not asked:
        raise PromptError("no class was given; use --names, --text, --exemplar or --points, for example: --text cat")
    find_format(format, tolerance=tolerance)
    skipped: list[SkippedFile] = []
    list_folder(folder, skipped=skipped)
    name_skipped(skipped)
    chosen_model = ModelChoice(model, detector, masker, threshold, tile, device, engine.value, offline)
    chosen_model.check()
    check_output_folder(out)

    predictor = chosen_model.load()
    with show_progress("labeling") as report:
        done = label_folder(
            predictor,
            folder,
            asked,
            out,
            format=format,
            tolerance=tolerance,
            points=pointing,
            runner=Pool(workers) if workers > 1 else None,
            report=report,
        )
    for error in done.failures.values():
        typer.echo(f"error: {error}", err=True)
    if done.num_left_out:
        typer.echo(f"{counted(done.num_left_out)} without a point or box: left out", err=True)
    preview = f"; see {done.preview}" if done.preview is not None else ""
    typer.echo(f"{counted(done.num_images)} labeled, {done.num_done_before} of them before{preview}")
    if done.failures:
        typer.echo(f"{counted(len(done.failures))} failed, see {out / FAILURES}", err=True)
        raise typer.Exit(1)
