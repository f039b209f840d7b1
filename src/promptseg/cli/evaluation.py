"""What the commands that measure a model share: problems and progress on stderr, tables on stdout, one JSON report."""

import shlex
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.progress import track

if TYPE_CHECKING:
    from promptseg.data.jsonl import PseudoMasks
    from promptseg.data.sample import Problem, SampleSet
    from promptseg.evaluate.evaluate_set import Outputs
    from promptseg.evaluate.records import ImageRecord
    from promptseg.evaluate.report import EvaluationRun, Report
    from promptseg.language.class_list import NamedClass
    from promptseg.predictor import Predictor
    from promptseg.results.panoptic import Unlabelled
    from promptseg.stored_values import MaskValue


def read_sets(
    data: Path,
    names: Sequence[str] | None,
    *,
    pseudo: Path | None,
    only: Path | None,
    limit: int | None,
    mask_value: "MaskValue | None" = None,
) -> "dict[str, SampleSet]":
    """Read the annotated images of a command, by the name of their set; problems go to stderr.

    Args:
        data: A folder of images and masks or an index; with `names`, the directory of the indexes.
        names: Indexes in `data`; None or empty: `data` itself.
        pseudo: Directory of pseudo-masks, or None.
        only: Text file of the sample ids to take, or None for all.
        limit: Take only so many images of each set; None: all.
        mask_value: What is inside masks of several classes, as `promptseg.read_mask` takes it.

    Raises:
        DataError: The data is missing or malformed, or no image of a set is selected.
    """
    from promptseg.evaluate.absent_phrases import add_absent_phrases
    from promptseg.evaluate.data_source import read_samples

    def load(source: Path, *, pseudo_masks: "PseudoMasks | None") -> "SampleSet":
        return add_absent_phrases(read_samples(source, pseudo_masks=pseudo_masks, mask_value=mask_value))

    own_name = data.stem if data.is_file() else data.absolute().name
    sources = {name: data / f"{name}.jsonl" for name in names or ()} or {own_name: data}
    loaders = {name: partial(load, source) for name, source in sources.items()}
    return select_sets(loaders, pseudo=pseudo, only=only, limit=limit)


def select_sets(
    loaders: "Mapping[str, Callable[..., SampleSet]]",
    *,
    pseudo: Path | None,
    only: Path | None,
    limit: int | None,
) -> "dict[str, SampleSet]":
    """Load sets by their names and select images of them; problems go to stderr.

    Args:
        loaders: Each loads a set; the only argument is `pseudo_masks`, None without pseudo-masks.
        pseudo: As `read_sets`, and so `only` and `limit`.

    Raises:
        DataError: The data is missing or malformed, or no image of a set is selected.
    """
    from promptseg.data.jsonl import load_pseudo_mask_folder
    from promptseg.data.layout import load_list
    from promptseg.evaluate.data_source import select_samples

    pseudo_masks = None if pseudo is None else load_pseudo_mask_folder(pseudo)
    ids = None if only is None else load_list(only)
    chosen = {}
    for name, load in loaders.items():
        chosen[name] = select_samples(load(pseudo_masks=pseudo_masks), name, only=ids, limit=limit)
        name_problems(chosen[name].problems)
    return chosen


def name_problems(problems: "Iterable[Problem]") -> None:
    """Name on stderr what was left out of the data, and what should have counted but can't be used."""
    for problem in problems:
        typer.echo(f"{'error' if problem.is_failure else 'left out'}: {problem}", err=True)


def describe_run(predictor: "Predictor", model: str | None, seed: int) -> "EvaluationRun":
    """Describe the model and settings of this process."""
    import promptseg
    from promptseg.evaluate.provenance import git_commit
    from promptseg.evaluate.report import EvaluationRun

    return EvaluationRun(
        model=model or predictor.name,
        fingerprint=predictor.fingerprint,
        engine=predictor.engine,
        device=predictor.device,
        mask_threshold=predictor.segmenter.mask_threshold,
        presence_threshold=predictor.presence_threshold,
        command=shlex.join(["promptseg", *sys.argv[1:]]),
        version=promptseg.__version__,
        commit=git_commit(),
        seed=seed,
    )


def check_exemplar_sets(chosen: "Mapping[str, SampleSet]") -> None:
    """Check that phrases of each set can be shown by other images, before a model is loaded.

    Raises:
        DataError: No phrase of a set can.
    """
    from promptseg.evaluate.exemplar_examples import check_exemplars

    for name, samples in chosen.items():
        check_exemplars(samples, name)


def name_outputs(name: str, *, out: Path | None, resume: bool = False) -> "Outputs":
    """Name the files of one set: its records beside the report."""
    from promptseg.evaluate.evaluate_set import Outputs

    return Outputs(records=None if out is None else out.with_name(f"{out.stem}.{name}.jsonl"), resume=resume)


def watch_records(name: str, total: int) -> "Callable[[Iterable[ImageRecord]], Iterator[ImageRecord]]":
    """Show the progress on stderr, and name every image that fails."""
    return partial(_watch, name, total)


def _watch(name: str, total: int, records: "Iterable[ImageRecord]") -> "Iterator[ImageRecord]":
    for record in track(records, name, total=total, console=Console(stderr=True), transient=True):
        if record.error is not None:
            typer.echo(f"error: {record.sample_id}: {record.error}", err=True)
        yield record


def evaluate_sets(
    predictor: "Predictor",
    chosen: "Mapping[str, SampleSet]",
    *,
    model: str | None,
    seed: int,
    out: Path | None,
    gallery: Path | None,
    resume: bool,
    by_example: bool,
    class_names: Mapping[str, Sequence[str]] | None = None,
) -> None:
    """Evaluate a model on sets, one after the other, and publish the reports.

    Args:
        predictor: The loaded model.
        chosen: The sets by name.
        model: The model as the command line names it; None: the default.
        seed: Of the bootstrap intervals.
        out: File of the report; None: only the tables.
        gallery: File of the best, typical and worst masks; of several sets, one file each. None: none.
        resume: Continue from the records beside `out`.
        by_example: Prompt with another image that shows the phrase, not with the phrase.
        class_names: For sets whose names label every pixel, these names.

    Raises:
        Exit: With code 1, after all is done: some images could not be scored.
        OutputError: A file can't be written.
    """
    from promptseg.evaluate.evaluate_set import evaluate_set

    run = describe_run(predictor, model, seed)

    def evaluate_each() -> "Iterator[Report]":
        for name, samples in chosen.items():
            evaluated = evaluate_set(
                predictor,
                name,
                samples,
                run=run,
                outputs=name_outputs(name, out=out, resume=resume),
                watch=watch_records(name, len(samples)),
                class_names=(class_names or {}).get(name, ()),
                by_example=by_example,
            )
            yield evaluated.report  # it is published before its gallery is drawn, which may fail
            if gallery is not None:
                evaluated.write_gallery(predictor, _gallery_of(gallery, name, len(chosen)))

    publish(evaluate_each(), out, problems=[each for samples in chosen.values() for each in samples.problems])


def evaluate_maps(
    predictor: "Predictor",
    chosen: "Mapping[str, SampleSet]",
    classes: "tuple[NamedClass, ...] | None",
    *,
    model: str | None,
    seed: int,
    out: Path | None,
    resume: bool,
    unlabelled: "Unlabelled",
) -> None:
    """Evaluate the panoptic maps of a model on sets, one after the other, and publish the reports.

    Args:
        predictor: The loaded model.
        chosen: The sets by name.
        classes: The classes of the maps; None: those of each set's annotation.
        model: As `evaluate_sets`, and so the others.
        seed: Likewise.
        out: Likewise.
        resume: Likewise.
        unlabelled: What becomes of pixels of which no class is sure.

    Raises:
        Exit: With code 1, after all is done: some images could not be scored.
        DataError: No image of a set has its stuff annotated.
        OutputError: A file can't be written.
    """
    from promptseg.data.true_segments import choose_mapped, list_classes
    from promptseg.errors import DataError
    from promptseg.evaluate.evaluate_set import evaluate_panoptic_set

    run = describe_run(predictor, model, seed)

    def evaluate_one(name: str, samples: "SampleSet") -> "Report":
        of_set = classes or list_classes(samples)
        mapped = choose_mapped(samples.samples, of_set)
        if not mapped:
            raise DataError(f"{name}: no image has a mask of the stuff that is asked for, so that no map can be scored")
        if len(mapped) < len(samples):
            left_out = len(samples) - len(mapped)
            typer.echo(f"{name}: {left_out} images without a mask of stuff are left out", err=True)
        return evaluate_panoptic_set(
            predictor,
            name,
            mapped,
            of_set,
            run=run,
            unlabelled=unlabelled,
            outputs=name_outputs(name, out=out, resume=resume),
            watch=watch_records(name, len(mapped)),
        )

    publish(
        (evaluate_one(name, samples) for name, samples in chosen.items()),
        out,
        problems=[each for samples in chosen.values() for each in samples.problems],
    )


def _gallery_of(gallery: Path, name: str, num_sets: int) -> Path:
    """Name the gallery of one set: the file itself, or one per set where there are several."""
    return gallery if num_sets == 1 else gallery.with_name(f"{gallery.stem}.{name}{gallery.suffix}")


def publish(reports: "Iterable[Report]", out: Path | None, *, problems: "Iterable[Problem]" = ()) -> None:
    """Print the table of each report as soon as it is there, and write all so far to --out.

    Args:
        reports: As they come.
        out: File of all reports, or None.
        problems: What was left out of the data; an image or mask that can't be used counts as failed.

    Raises:
        Exit: With code 1, after all is done: some images could not be scored.
        OutputError: The report can't be written.
    """
    from promptseg.evaluate.benchmarks.comparison import comparison_table
    from promptseg.evaluate.report import report_table, write_reports

    done: list[Report] = []
    for report in reports:
        done.append(report)
        Console().print(report_table(report))
        if report.published:
            Console().print(comparison_table(report))
        if out is not None:
            write_reports(done, out)
    if any(report.failures for report in done) or any(problem.is_failure for problem in problems):
        raise typer.Exit(1)
