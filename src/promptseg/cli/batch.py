"""`promptseg batch`: many images by one request, on all cores or on a cluster; a table of rows out."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from promptseg._wording import counted
from promptseg.cli.checks import check_device, check_output_folder, read_mask_value
from promptseg.cli.exemplar_options import FORM_HELP, collect_queries
from promptseg.cli.image_results import name_skipped
from promptseg.cli.loading import load_predictor
from promptseg.cli.options import Device, Engine, EngineChoice, MaskValueText, Model, Offline, Threshold
from promptseg.errors import PromptError

if TYPE_CHECKING:
    from promptseg.batch.many_images import Runner
    from promptseg.prompts import QueryLike

# Where no terminal shows a bar, one line tells of the progress after each so many shares of the images.
_NUM_LINES = 20


class RowFormat(StrEnum):
    """Format of the part files."""

    parquet = "parquet"
    jsonl = "jsonl"


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
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the rows: a new one, or one to continue.")],
    text: Annotated[list[str] | None, typer.Option("--text", "-t", help="What to find; repeat it for more.")] = None,
    names: Annotated[Path | None, typer.Option(help="Text file of names to find, one per line.")] = None,
    exemplar: Annotated[list[str] | None, typer.Option("--exemplar", "-x", help=FORM_HELP)] = None,
    mask_value: MaskValueText = None,
    column: Annotated[str | None, typer.Option(help="Column of the images or paths in Parquet tables.")] = None,
    format: Annotated[RowFormat, typer.Option("--format", "-f", help="Of the rows.")] = RowFormat.parquet,
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
    threshold: Threshold = None,
    device: Device = "auto",
    engine: Engine = EngineChoice.auto,
    offline: Offline = False,
) -> None:
    """Segment many images, and write a row for each object, with its mask, to Parquet or JSONL.

    Run it again to continue after an interruption: images that are done are skipped. Nothing is lost and nothing is
    written twice, even where the run was killed.

    Exit code 1: some images failed; their rows have an error.
    """
    queries = _collect(text or [], names, exemplar or [], mask_value)
    chosen = _choose_runner(runner, workers, address)
    check_device(device)
    check_output_folder(out)

    from promptseg.batch import Pool, list_sources
    from promptseg.batch import batch as run_batch
    from promptseg.prompts import to_queries
    from promptseg.skipped_files import SkippedFile

    requested = to_queries(queries)
    skipped: list[SkippedFile] = []
    images = list_sources(sources, column=column, skipped=skipped)
    name_skipped(skipped)
    predictor = load_predictor(model, device=device, engine=engine.value, offline=offline, threshold=threshold)
    if chosen is None and workers is not None:
        chosen = Pool(workers)
    with _progress() as report:
        done = run_batch(
            predictor,
            images,
            requested,
            out,
            format=format.value,
            runner=chosen,
            retry_errors=retry_errors,
            report=report,
        )
    num_new = done.num_images - done.num_done_before
    before = f"; {done.num_done_before} were done before" if done.num_done_before else ""
    typer.echo(
        f"{counted(num_new)} in {done.seconds:.0f} s, {num_new / done.seconds:.2f} images/s{before}; rows: {out}"
    )
    if done.num_errors:
        typer.echo(f"{counted(done.num_errors)} failed: see the column error", err=True)
        raise typer.Exit(1)


def _collect(texts: list[str], names: Path | None, exemplars: list[str], mask_value: str | None) -> "list[QueryLike]":
    from promptseg.labeling import read_names

    listed = [*texts, *(read_names(names) if names is not None else ())]
    if not listed and not exemplars:
        raise PromptError("no prompt was given; use --text, --names or --exemplar, for example: --text cat")
    return collect_queries(listed, exemplars, mask_value=read_mask_value(mask_value))


def _choose_runner(choice: RunnerChoice, workers: int | None, address: str | None) -> "Runner | None":
    """Give the cluster that is meant; None: this machine."""
    address = address or os.environ.get("RAY_ADDRESS")
    if choice is RunnerChoice.pool or (choice is RunnerChoice.auto and not address):
        return None
    from promptseg.batch import RayCluster

    return RayCluster(address or "auto", workers)


class _Rate(ProgressColumn):
    """Images per second."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:.2f} images/s" if task.speed else "")


@contextmanager
def _progress() -> Iterator[Callable[[int, int], None]]:
    """Show progress, rate and remaining time on stderr: a bar on a terminal, else a line now and then."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _tell
        return
    columns = (TextColumn("segmenting"), BarColumn(), MofNCompleteColumn(), _Rate(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("", total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def _tell(done: int, total: int) -> None:
    if done * _NUM_LINES // total != (done - 1) * _NUM_LINES // total:
        typer.echo(f"{done} of {counted(total)}", err=True)
