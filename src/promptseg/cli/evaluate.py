"""`promptseg evaluate`: measure a model on annotated pictures, or fix its thresholds on them."""

import json
import shlex
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import track

from promptseg.cli.predict import EngineChoice

if TYPE_CHECKING:
    from promptseg.data.sample import SampleSet
    from promptseg.evaluate.records import PictureRecord
    from promptseg.evaluate.report import Run
    from promptseg.predict import Predictor


def evaluate(
    data: Annotated[Path, typer.Option(help="Directory of the index files and their pictures.")],
    sets: Annotated[list[str], typer.Option("--set", help="Name of a data set; repeat it for more.")],
    model: Annotated[
        str | None, typer.Option(help="A name that `promptseg models` lists, or a checkpoint's directory.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Report to write (JSON); records of every pair go beside it.")
    ] = None,
    gallery: Annotated[Path | None, typer.Option(help="Sheet of best, typical and worst answers (PNG).")] = None,
    thresholds: Annotated[
        Path | None,
        typer.Option(
            "--fit-thresholds", help="Fix the thresholds on these training sets instead, and write them (JSON)."
        ),
    ] = None,
    keep: Annotated[
        float | None, typer.Option(min=0.0, max=1.0, help="With --fit-thresholds: share of present phrases to keep.")
    ] = None,
    pseudo: Annotated[Path | None, typer.Option(help="Directory of masks that were made for boxes.")] = None,
    only: Annotated[Path | None, typer.Option(help="Text file that lists the pictures to take, one a line.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Take only so many pictures of each set.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")] = "auto",
    engine: Annotated[EngineChoice, typer.Option(help="What computes; auto takes the fastest.")] = EngineChoice.auto,
    seed: Annotated[int, typer.Option(help="Of the bootstrap.")] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the records beside --out.")] = False,
    offline: Annotated[bool, typer.Option("--offline", help="Fetch nothing.")] = False,
) -> None:
    """Measure a model on annotated pictures: a table on stdout, every number and its origin in --out.

    Exit code 1: some pictures could not be judged. Each is named on stderr, the others are done.
    """
    from promptseg.evaluate.report import report_table, write_reports
    from promptseg.evaluate.session import Outputs, Selection, evaluate_set, load_made_directory, read_ids

    # What is wrong with the request is said before a model is loaded for it.
    made_masks = load_made_directory(pseudo) if pseudo else None
    selection = Selection(data, made_masks, read_ids(only) if only else None, limit)
    chosen = {name: selection.load(name, for_tuning=thresholds is not None) for name in sets}
    for problem in (problem for samples in chosen.values() for problem in samples.problems):
        typer.echo(f"left out: {problem}", err=True)

    from promptseg.predict import load

    predictor = load(model, device=device, engine=engine.value, offline=offline)
    if thresholds is not None:
        _fix_thresholds(predictor, chosen, path=thresholds, keep=keep)
        return
    run = _describe_run(predictor, model or predictor.name, seed)
    reports = []
    for name, samples in chosen.items():
        outputs = Outputs(
            records=out and out.with_name(f"{out.stem}.{name}.jsonl"),
            gallery=gallery and (gallery.with_name(f"{gallery.stem}.{name}.png") if len(chosen) > 1 else gallery),
            resume=resume,
        )
        reports.append(
            evaluate_set(predictor, name, samples, run=run, outputs=outputs, watch=partial(_watch, name, len(samples)))
        )
        Console().print(report_table(reports[-1]))
        if out is not None:
            write_reports(reports, out)
    if any(report.failures for report in reports):
        raise typer.Exit(1)


def _watch(name: str, total: int, records: "Iterable[PictureRecord]") -> "Iterator[PictureRecord]":
    """Show how far it is, and name every picture that fails."""
    for record in track(records, name, total=total, console=Console(stderr=True), transient=True):
        if record.error is not None:
            typer.echo(f"error: {record.sample_id}: {record.error}", err=True)
        yield record


def _fix_thresholds(predictor: "Predictor", chosen: "dict[str, SampleSet]", *, path: Path, keep: float | None) -> None:
    from promptseg.evaluate.thresholds import fit_thresholds
    from promptseg.ops.atomic import atomic_file

    samples = [sample for samples in chosen.values() for sample in samples]
    calibration = fit_thresholds(
        predictor,
        track(samples, "fixing thresholds", console=Console(stderr=True), transient=True),
        current=predictor.model.config.presence_calibration,
        min_present_kept=keep,
    )
    text = json.dumps(asdict(calibration) | {"sets": list(chosen), "num_pictures": len(samples)}, indent=2)
    with atomic_file(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")
    typer.echo(text)


def _describe_run(predictor: "Predictor", model: str, seed: int) -> "Run":
    import promptseg
    from promptseg.evaluate.provenance import git_commit
    from promptseg.evaluate.report import Run

    return Run(
        model=model,
        fingerprint=predictor.fingerprint,
        engine=predictor.engine,
        device=str(predictor.model.device),
        mask_threshold=predictor.segmenter.mask_threshold,
        presence_threshold=predictor.presence_threshold,
        command=shlex.join(["promptseg", *sys.argv[1:]]),
        version=promptseg.__version__,
        commit=git_commit(),
        seed=seed,
    )
