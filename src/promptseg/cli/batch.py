"""`promptseg batch`: many images by one request, on all cores or on a cluster; a table of rows or a data set out."""

import os
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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
    MinArea,
    MinScore,
    Model,
    Offline,
    Stuff,
    Threshold,
    Tile,
    Tolerance,
    Unlabelled,
    UnlabelledChoice,
)
from promptseg.cli.panoptic import read_classes_of, tell_kinds
from promptseg.cli.progress_bar import show_progress
from promptseg.errors import PromptError

if TYPE_CHECKING:
    from promptseg.batch import AskedClass, MapRequest
    from promptseg.batch.many_images import Runner


class RunnerChoice(StrEnum):
    """Where images are segmented."""

    auto = "auto"
    pool = "pool"
    ray = "ray"


def batch(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE",
            help="Images, folders, patterns; list files (.txt, one path a line); tar shards; Parquet tables.",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the output: a new one, or one to continue.")],
    text: Annotated[list[str] | None, typer.Option("--text", "-t", help="What to find; repeat it for more.")] = None,
    names: Annotated[
        Path | None,
        typer.Option(help="Text file of classes to find, one per line; other wordings of a class after commas."),
    ] = None,
    exemplar: Annotated[list[str] | None, typer.Option("--exemplar", "-x", help=FORM_HELP)] = None,
    mask_value: MaskValueText = None,
    panoptic: Annotated[
        bool, typer.Option("--panoptic", help="Give every pixel a class of --names (default: everyday names) or none.")
    ] = False,
    stuff: Stuff = None,
    unlabelled: Unlabelled = UnlabelledChoice.keep,
    min_score: MinScore = None,
    min_area: MinArea = None,
    column: Annotated[str | None, typer.Option(help="Column of the images or paths in Parquet tables.")] = None,
    format: Annotated[
        str, typer.Option("--format", "-f", help=f"parquet or jsonl: rows. A data set: {FORMAT_HELP}")
    ] = "parquet",
    tolerance: Tolerance = None,
    runner: Annotated[
        RunnerChoice,
        typer.Option(help="auto: pool, or ray where an address is given; pool: this machine; ray: a cluster."),
    ] = RunnerChoice.auto,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes or actors. Default: one for each core, one for a GPU.")
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(help="Of a Ray cluster: auto, host:port, ray://host:port, or local. Default: RAY_ADDRESS."),
    ] = None,
    retry_errors: Annotated[bool, typer.Option("--retry-errors", help="Try images again that failed before.")] = False,
    model: Model = None,
    detector: Detector = None,
    masker: Masker = None,
    threshold: Threshold = None,
    tile: Tile = None,
    device: Device = "auto",
    engine: Engine = EngineChoice.auto,
    offline: Offline = False,
) -> None:
    """Segment many images, and write a row for each object, with its mask, to Parquet or JSONL; or a data set.

    Run it again to continue after an interruption: images that are done are skipped. Nothing is lost and nothing is
    written twice, even where the run was killed.

    Exit code 1: some images failed; their rows have an error, or failures.txt names them.
    """
    from promptseg.batch.many_images import check_format

    has_prompts = bool(text or exemplar or mask_value is not None)
    for is_given, hint, needs in (
        (has_prompts and panoptic, "--panoptic", "it takes its classes from --names alone"),
        (stuff is not None and not panoptic, "--stuff", "it is for --panoptic"),
        (unlabelled is not UnlabelledChoice.keep and not panoptic, "--unlabelled", "it is for --panoptic"),
        (min_score is not None and not panoptic, "--min-score", "it is for --panoptic"),
        (min_area is not None and not panoptic, "--min-area", "it is for --panoptic"),
    ):
        if is_given:
            raise typer.BadParameter(needs, param_hint=hint)
    request: MapRequest | list[AskedClass]
    if panoptic:
        request = _read_map_request(names, stuff, unlabelled, min_score, min_area)
    else:
        request = _read_classes(text or [], names, exemplar or [], mask_value)
    check_format(format, tolerance=tolerance)
    chosen_model = ModelChoice(model, detector, masker, threshold, tile, device, engine.value, offline)
    chosen_model.check()
    chosen = _choose_runner(runner, workers, address)
    check_output_folder(out)

    from promptseg.batch import Pool, list_sources
    from promptseg.batch import batch as run_batch
    from promptseg.batch.output import FORMATS as ROW_FORMATS
    from promptseg.skipped_files import SkippedFile

    skipped: list[SkippedFile] = []
    images = list_sources(sources, column=column, skipped=skipped)
    name_skipped(skipped)
    predictor = chosen_model.load()
    if chosen is None and workers is not None:
        chosen = Pool(workers)
    with show_progress("segmenting") as report:
        done = run_batch(
            predictor,
            images,
            request,
            out,
            format=format,
            tolerance=tolerance,
            runner=chosen,
            retry_errors=retry_errors,
            report=report,
        )
    num_new = done.num_images - done.num_done_before
    before = f"; {done.num_done_before} were done before" if done.num_done_before else ""
    typer.echo(
        f"{counted(num_new)} in {done.seconds:.0f} s, {num_new / done.seconds:.2f} images/s{before}; "
        f"{'rows' if format in ROW_FORMATS else format}: {out}"
    )
    if done.num_errors:
        where = "the column error" if format in ROW_FORMATS else str(out / "failures.txt")
        typer.echo(f"{counted(done.num_errors)} failed: see {where}", err=True)
        raise typer.Exit(1)


def _read_map_request(
    names: Path | None, stuff: str | None, unlabelled: UnlabelledChoice, min_score: float | None, min_area: int | None
) -> "MapRequest":
    from promptseg.batch import MapRequest
    from promptseg.panoptic_map import PanopticOptions

    classes = read_classes_of(names, stuff)
    tell_kinds(classes)
    return MapRequest(classes, PanopticOptions(unlabelled.value, min_score, min_area))


def _read_classes(
    texts: list[str], names: Path | None, exemplars: list[str], mask_value: str | None
) -> "list[AskedClass]":
    if not (texts or names or exemplars):
        raise PromptError("no prompt was given; use --text, --names or --exemplar, for example: --text cat")
    return collect_classes(read_name_file(names), texts, exemplars, mask_value=read_mask_value(mask_value))


def _choose_runner(choice: RunnerChoice, workers: int | None, address: str | None) -> "Runner | None":
    """Give the cluster that is meant; None: this machine."""
    address = address or os.environ.get("RAY_ADDRESS")
    if choice is RunnerChoice.pool or (choice is RunnerChoice.auto and not address):
        return None
    from promptseg.batch import RayCluster

    return RayCluster(address or "auto", workers)
