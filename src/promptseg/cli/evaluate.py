"""`promptseg evaluate`: measure a model on annotated pictures, or fix its thresholds on them."""

import json
import shlex
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import track

import promptseg
from promptseg.data.jsonl import MadeMasks, load_made_masks
from promptseg.data.sample import Sample, SampleSet
from promptseg.data.sets import EVAL_SETS
from promptseg.errors import DataError
from promptseg.evaluate.gallery import choose_pairs, draw_pairs
from promptseg.evaluate.provenance import git_commit
from promptseg.evaluate.records import PictureRecord, keep_records, load_done
from promptseg.evaluate.report import Run, build_report, report_table, write_reports
from promptseg.evaluate.runner import evaluate_samples
from promptseg.evaluate.sets import load_asked_set, load_tuning_set
from promptseg.evaluate.thresholds import fit_thresholds
from promptseg.ops.atomic import atomic_file

if TYPE_CHECKING:  # brings in torch, which `promptseg --help` should not wait for
    from promptseg.predict import Predictor

_talk = Console(stderr=True)


@dataclass(frozen=True)
class _Selection:
    """Which pictures of a set are asked."""

    data_dir: Path
    made_masks: MadeMasks | None
    only: frozenset[str] | None
    limit: int | None

    def of(self, samples: SampleSet, name: str) -> Sequence[Sample]:
        for problem in samples.problems:
            _talk.print(f"left out: {problem}", style="yellow", markup=False)
        chosen = [sample for sample in samples if self.only is None or sample.sample_id in self.only][: self.limit]
        if not chosen:
            raise DataError(f"{name}: no picture of it is chosen; --only names none of them")
        return chosen


def evaluate(
    data: Annotated[Path, typer.Option(help="Directory of the index files and their pictures.")],
    sets: Annotated[list[str], typer.Option("--set", help="Name of a data set; may be given again.")],
    model: Annotated[str | None, typer.Option(help="Name or directory of a model.", show_default="the default")] = None,
    pseudo: Annotated[Path | None, typer.Option(help="Directory of masks that were made for boxes.")] = None,
    out: Annotated[Path | None, typer.Option(help="Report to write (JSON); the records go beside it.")] = None,
    gallery: Annotated[Path | None, typer.Option(help="Sheet of best, typical and worst answers (PNG).")] = None,
    thresholds: Annotated[
        Path | None, typer.Option("--fit-thresholds", help="Fix the thresholds on these sets instead; to write (JSON).")
    ] = None,
    keep: Annotated[
        float | None, typer.Option(min=0, max=1, help="With --fit-thresholds: share of present phrases to keep.")
    ] = None,
    only: Annotated[Path | None, typer.Option(help="File that lists the pictures to take, one a line.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Take only so many pictures of each set.")] = None,
    engine: Annotated[str, typer.Option(help="auto, torch or openvino.")] = "auto",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    seed: Annotated[int, typer.Option(help="Of the bootstrap.")] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the records beside --out.")] = False,
    offline: Annotated[bool, typer.Option("--offline", help="Fetch nothing.")] = False,
) -> None:
    """Measure a model on annotated pictures: a table on stdout, every number with its origin in --out.

    Exit code 1: some pictures could not be judged; each is named, the rest is done.
    """
    selection = _Selection(data, _load_made_masks(pseudo), _read_names(only), limit)
    predictor = promptseg.load(model, device=device, engine=engine, offline=offline)
    if thresholds is not None:
        _fix_thresholds(predictor, selection, sets, path=thresholds, keep=keep)
        return
    run = Run(
        model=model or predictor.name,
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
    reports = []
    for name in sets:
        samples = selection.of(load_asked_set(name, data, made_masks=selection.made_masks), name)
        class_names = EVAL_SETS[name].class_names if name in EVAL_SETS else ()
        path = None if out is None else out.with_name(f"{out.stem}.{name}.jsonl")
        done = load_done(path) if resume and path is not None else {}
        asked = evaluate_samples(predictor, samples, class_names=class_names, asked=run.asked, done=done)
        records = [*_watch(asked if path is None else keep_records(asked, path, done=done), name, len(samples))]
        reports.append(build_report(name, records, run))
        if out is not None:
            write_reports(reports, out)
        if gallery is not None:
            sheet = gallery if len(sets) == 1 else gallery.with_name(f"{gallery.stem}.{name}{gallery.suffix}")
            title = f"{run.model} on {name}"
            with atomic_file(sheet) as temporary:
                draw_pairs(predictor, samples, choose_pairs(records), title=title, class_names=class_names).save(
                    temporary
                )
        Console().print(report_table(reports[-1]))
    if any(report.failures for report in reports):
        raise typer.Exit(1)


def _fix_thresholds(
    predictor: "Predictor", selection: _Selection, sets: Sequence[str], *, path: Path, keep: float | None
) -> None:
    samples = [
        sample
        for name in sets
        for sample in selection.of(load_tuning_set(name, selection.data_dir, made_masks=selection.made_masks), name)
    ]
    calibration = fit_thresholds(
        predictor,
        track(samples, "fixing thresholds", console=_talk, transient=True),
        current=predictor.model.config.presence_calibration,
        min_present_kept=keep,
    )
    text = json.dumps(asdict(calibration) | {"sets": list(sets), "num_pictures": len(samples)}, indent=1)
    with atomic_file(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")
    typer.echo(text)


def _watch(records: Iterator[PictureRecord], name: str, total: int) -> Iterator[PictureRecord]:
    """Show how far it is, and name every picture that fails."""
    for record in track(records, name, total=total, console=_talk, transient=True):
        if record.error is not None:
            _talk.print(f"failed: {record.sample_id}: {record.error}", style="red", markup=False)
        yield record


def _load_made_masks(directory: Path | None) -> MadeMasks | None:
    if directory is None:
        return None
    paths = sorted(directory.glob("*.jsonl"))
    if not paths:
        raise DataError(f"{directory}: no file of made masks (*.jsonl) in it")
    return load_made_masks(paths)


def _read_names(path: Path | None) -> frozenset[str] | None:
    if path is None:
        return None
    try:
        return frozenset(path.read_text(encoding="utf-8").split("\n")) - {""}
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: can't be read ({error})") from error
