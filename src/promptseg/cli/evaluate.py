"""`promptseg evaluate`: measure a model on annotated images or on a benchmark, or fix its thresholds on images."""

import json
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import track

from promptseg.cli.options import Device, Engine, EngineChoice, MadeMasks, Model, Offline

if TYPE_CHECKING:
    from promptseg.data.sample import Problem, SampleSet
    from promptseg.evaluate.records import ImageRecord
    from promptseg.evaluate.report import Report, Run
    from promptseg.predictor import Predictor


def evaluate(
    data: Annotated[Path, typer.Option(help="Directory of the index files and their images, or of a benchmark.")],
    sets: Annotated[list[str] | None, typer.Option("--set", help="Name of a data set; repeat it for more.")] = None,
    benchmark: Annotated[
        str | None,
        typer.Option(
            help="Instead of sets: phrasecut, refcoco, refcoco+, refcocog, grefcoco, pascal-5i, coco-20i or pascal-zs."
        ),
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="Of the benchmark: val, unc/testA, unseen-4, ...; default: the usual one.")
    ] = None,
    fold: Annotated[int | None, typer.Option(help="Of pascal-5i and coco-20i; default: all, and their mean.")] = None,
    prompt: Annotated[
        str | None, typer.Option(help="What is asked with: text or exemplar; default: the usual one.")
    ] = None,
    model: Model = None,
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
    pseudo: MadeMasks = None,
    only: Annotated[Path | None, typer.Option(help="Text file that lists the images to take, one a line.")] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Take only so many images of each set, or episodes of each fold.")
    ] = None,
    device: Device = "auto",
    engine: Engine = EngineChoice.auto,
    seed: Annotated[int, typer.Option(help="Of the bootstrap that gives the intervals.")] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the records beside --out.")] = False,
    offline: Offline = False,
) -> None:
    """Measure a model on annotated images: a table on stdout, every number and its origin in --out.

    With --benchmark, the numbers that were published on it stand beside the model's.

    Exit code 1: some images could not be judged. Each is named on stderr, the others are done.
    """
    from promptseg.evaluate.benchmarks.comparison import comparison_table
    from promptseg.evaluate.report import report_table, write_reports
    from promptseg.evaluate.session import Outputs, Selection, evaluate_set, load_made_directory, read_ids

    # What is wrong with the request is said before a model is loaded for it.
    chosen: dict[str, SampleSet] = {}
    measures: list[tuple[str, int, Callable[..., Report]]] = []
    if thresholds is None:
        _refuse({"keep": keep}, why="goes with --fit-thresholds only")
    if benchmark is not None:
        for_sets = {"set": sets, "gallery": gallery, "fit-thresholds": thresholds, "pseudo": pseudo, "only": only}
        _refuse(for_sets, why="goes without --benchmark only")
        measures.append(_prepare_benchmark(benchmark, data, split=split, prompt=prompt, fold=fold, limit=limit))
    else:
        _refuse({"split": split, "fold": fold}, why="goes with --benchmark only")
        if prompt not in (None, "text", "exemplar"):
            raise typer.BadParameter(f"--prompt is text or exemplar, not {prompt!r}")
        by_example = prompt == "exemplar"
        if by_example:
            _refuse({"gallery": gallery, "fit-thresholds": thresholds}, why="goes with --prompt text only")
        if not sets:
            raise typer.BadParameter("say what to measure on: --set, once or more, or --benchmark")
        made_masks = load_made_directory(pseudo) if pseudo else None
        selection = Selection(data, made_masks, read_ids(only) if only else None, limit)
        chosen = {name: selection.load(name, for_tuning=thresholds is not None) for name in sets}
        _name_problems(problem for samples in chosen.values() for problem in samples.problems)
        for name, samples in chosen.items():
            measures.append(
                (name, len(samples), partial(evaluate_set, name=name, samples=samples, by_example=by_example))
            )

    from promptseg.predictor import load

    predictor = load(model, device=device, engine=engine.value, offline=offline)
    if thresholds is not None:
        _fix_thresholds(predictor, chosen, path=thresholds, keep=keep)
        return
    run = _describe_run(predictor, model or predictor.name, seed)
    reports = []
    for name, num_images, measure in measures:
        outputs = Outputs(
            records=out and out.with_name(f"{out.stem}.{name}.jsonl"),
            gallery=gallery and (gallery.with_name(f"{gallery.stem}.{name}.png") if len(chosen) > 1 else gallery),
            resume=resume,
        )
        reports.append(measure(predictor, run=run, outputs=outputs, watch=partial(_watch, name, num_images)))
        Console().print(report_table(reports[-1]))
        if reports[-1].published:
            Console().print(comparison_table(reports[-1]))
        if out is not None:
            write_reports(reports, out)
    if any(report.failures for report in reports):
        raise typer.Exit(1)


def _refuse(options: "Mapping[str, object]", *, why: str) -> None:
    for name, value in options.items():
        if value is not None and value != []:
            raise typer.BadParameter(f"--{name} {why}")


def _prepare_benchmark(
    name: str, root: Path, *, split: str | None, prompt: str | None, fold: int | None, limit: int | None
) -> "tuple[str, int, Callable[..., Report]]":
    """Read a benchmark; give its name, its number of images, and what measures a model on it."""
    from promptseg.evaluate.benchmarks.session import load_exam, run_benchmark
    from promptseg.evaluate.benchmarks.table import find_benchmark

    benchmark = find_benchmark(name)
    choice = benchmark.choose(root, split=split, prompt=prompt, fold=fold, limit=limit)
    exam = load_exam(benchmark, choice)
    _name_problems(exam.problems)
    return name, len(exam.sheets), partial(run_benchmark, choice=choice, exam=exam)


def _name_problems(problems: "Iterable[Problem]") -> None:
    for problem in problems:
        typer.echo(f"left out: {problem}", err=True)


def _watch(name: str, total: int, records: "Iterable[ImageRecord]") -> "Iterator[ImageRecord]":
    """Show how far it is, and name every image that fails."""
    for record in track(records, name, total=total, console=Console(stderr=True), transient=True):
        if record.error is not None:
            typer.echo(f"error: {record.sample_id}: {record.error}", err=True)
        yield record


def _fix_thresholds(predictor: "Predictor", chosen: "dict[str, SampleSet]", *, path: Path, keep: float | None) -> None:
    from promptseg.errors import CheckpointError
    from promptseg.evaluate.thresholds import fit_thresholds
    from promptseg.models.clipseg.config import ClipSegConfig
    from promptseg.models.promptseg.config import PromptSegConfig
    from promptseg.ops.atomic import atomic_file

    config = predictor.model.config
    if not isinstance(config, PromptSegConfig | ClipSegConfig):
        raise CheckpointError(f"{predictor.name} has no thresholds of its own that could be fixed")
    samples = [sample for samples in chosen.values() for sample in samples]
    calibration = fit_thresholds(
        predictor,
        track(samples, "fixing thresholds", console=Console(stderr=True), transient=True),
        current=config.presence_calibration,
        min_present_kept=keep,
    )
    text = json.dumps(asdict(calibration) | {"sets": list(chosen), "num_images": len(samples)}, indent=2)
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
