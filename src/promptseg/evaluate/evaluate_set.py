"""Evaluate one model on one set of samples: records, report, gallery."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from promptseg.data.sample import Sample
from promptseg.evaluate.exemplar_examples import build_exemplar_examples, check_exemplars
from promptseg.evaluate.gallery import choose_pairs, draw_pairs
from promptseg.evaluate.panoptic_scores import (
    PanopticModel,
    PanopticPredictor,
    define_panoptic,
    describe_task,
    panoptic_examples,
)
from promptseg.evaluate.records import ImageRecord, keep_records, load_done
from promptseg.evaluate.report import EvaluationRun, Report, build_report
from promptseg.evaluate.runner import EvaluationExample, PhraseSegmenter, evaluate_examples, sample_examples
from promptseg.language.class_list import NamedClass
from promptseg.ops.atomic import atomic_file
from promptseg.results.panoptic import Unlabelled

Watch = Callable[[Iterable[ImageRecord]], Iterable[ImageRecord]]
"""Sees every record and passes it on, for a progress bar."""


@dataclass(frozen=True)
class Outputs:
    """Files to write; None: the file is not written.

    Attributes:
        records: JSON-lines file of every pair.
        resume: Reuse the records that are in the file.
    """

    records: Path | None = None
    resume: bool = False


@dataclass(frozen=True, eq=False)
class EvaluatedSet:
    """What the evaluation of a set gives.

    Attributes:
        report: The metrics.
        examples: The images with their queries.
        records: The scores of each image.
    """

    report: Report
    examples: tuple[EvaluationExample, ...]
    records: tuple[ImageRecord, ...]

    def write_gallery(self, model: PhraseSegmenter, path: Path) -> None:
        """Run the model again on the best, typical and worst pairs, and draw them.

        Args:
            model: The model that was evaluated.
            path: An image file; its suffix says which format.

        Raises:
            OutputError: The file can't be written.
            PromptsegError: An image can't be read any more.
        """
        title = f"{self.report.run.model} on {self.report.data_set}"
        sheet = draw_pairs(model, self.examples, choose_pairs(self.records), title=title)
        with atomic_file(path) as temporary:
            sheet.save(temporary)


def collect_records(
    model: PhraseSegmenter,
    examples: Iterable[EvaluationExample],
    *,
    run: EvaluationRun,
    outputs: Outputs = Outputs(),
    watch: Watch = iter,
) -> list[ImageRecord]:
    """Run a model on all examples and write each record at once; with `outputs.resume`, reuse those of an earlier run.

    Args:
        model: The model.
        examples: Images with their queries.
        run: Describes the model; records of a run with another id are not reused.
        outputs: Files to write.
        watch: Sees every record.

    Raises:
        OutputError: The records can't be written.
        DataError: The file to resume from holds no records.
    """
    done = load_done(outputs.records) if outputs.resume and outputs.records is not None else {}
    records = evaluate_examples(model, examples, run_id=run.run_id, done=done)
    return list(watch(records if outputs.records is None else keep_records(records, outputs.records, done=done)))


def evaluate_panoptic_set(
    predictor: PanopticPredictor,
    name: str,
    samples: Sequence[Sample],
    classes: tuple[NamedClass, ...],
    *,
    run: EvaluationRun,
    unlabelled: Unlabelled = "keep",
    outputs: Outputs = Outputs(),
    watch: Watch = iter,
) -> Report:
    """Evaluate the panoptic maps of a model on a set of samples, and build the report.

    Args:
        predictor: The model.
        name: Name of the set in the report.
        samples: Images whose masks annotate most of their pixels.
        classes: The classes of the maps.
        run: Describes the model in the report.
        unlabelled: What becomes of pixels of which no class is sure.
        outputs: Files to write; a gallery is not drawn.
        watch: Sees every record.

    Raises:
        OutputError: A file can't be written.
        DataError: The file to resume from holds no records.
    """
    run = replace(run, task=describe_task(classes, unlabelled))
    model = PanopticModel(predictor, classes, unlabelled)
    records = collect_records(model, panoptic_examples(samples, classes), run=run, outputs=outputs, watch=watch)
    return build_report(f"{name}, {run.task}", records, run, define=define_panoptic)


def evaluate_set(
    model: PhraseSegmenter,
    name: str,
    samples: Sequence[Sample],
    *,
    run: EvaluationRun,
    outputs: Outputs = Outputs(),
    watch: Watch = iter,
    class_names: Sequence[str] = (),
    by_example: bool = False,
) -> EvaluatedSet:
    """Evaluate a model on a set of samples, write the records, and build the report.

    Args:
        model: The model.
        name: Name of the set in the report.
        samples: Annotated images.
        run: Describes the model in the report.
        outputs: Files to write.
        watch: Sees every record.
        class_names: Names that together label every pixel, for class IoU; empty where there are none. Not used with
            `by_example`.
        by_example: Show each phrase by another image of the set instead of naming it.

    Raises:
        OutputError: A file can't be written.
        DataError: The file to resume from holds no records, or no phrase can be shown by another image.
    """
    if by_example:
        check_exemplars(samples, name)
        examples = tuple(build_exemplar_examples(samples))
    else:
        examples = tuple(sample_examples(samples, class_names=class_names))
    records = collect_records(model, examples, run=run, outputs=outputs, watch=watch)
    report = build_report(f"{name}, by example" if by_example else name, records, run)
    return EvaluatedSet(report, examples, tuple(records))
