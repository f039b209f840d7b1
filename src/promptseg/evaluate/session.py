"""One session: the chosen images of the named sets, one model, one report a set."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from promptseg.data.jsonl import MadeMasks, load_made_masks
from promptseg.data.sample import Sample, SampleSet
from promptseg.data.sets import EVAL_SETS
from promptseg.errors import DataError
from promptseg.evaluate.by_example import example_sheets
from promptseg.evaluate.gallery import choose_pairs, draw_pairs
from promptseg.evaluate.records import ImageRecord, keep_records, load_done
from promptseg.evaluate.report import Report, Run, build_report
from promptseg.evaluate.runner import PhraseSegmenter, Sheet, evaluate_sheets, sample_sheets
from promptseg.evaluate.sets import load_asked_set, load_tuning_set
from promptseg.ops.atomic import atomic_file

Watch = Callable[[Iterable[ImageRecord]], Iterable[ImageRecord]]
"""Looks at the records as they come and passes them on, for a progress bar."""


@dataclass(frozen=True)
class Selection:
    """Which images of a data directory are asked.

    Attributes:
        data_dir: Holds the index files and image directories.
        made_masks: Masks that were made for boxes, or None.
        only: Sample ids to take; None: all.
        limit: How many to take of each set, from the front; None: all.
    """

    data_dir: Path
    made_masks: MadeMasks | None = None
    only: frozenset[str] | None = None
    limit: int | None = None

    def load(self, name: str, *, for_tuning: bool = False) -> SampleSet:
        """Load the chosen samples of a set.

        Args:
            name: Of an evaluation set or a training index.
            for_tuning: Refuse evaluation sets.

        Raises:
            DataError: The data is missing or malformed, or no image of the set is chosen.
        """
        load = load_tuning_set if for_tuning else load_asked_set
        samples = load(name, self.data_dir, made_masks=self.made_masks)
        chosen = [sample for sample in samples if self.only is None or sample.sample_id in self.only]
        if not chosen:
            raise DataError(f"not one of the {len(samples)} images of {name} is chosen")
        return SampleSet(tuple(chosen[: self.limit]), samples.problems)


@dataclass(frozen=True)
class Outputs:
    """Where the results of a session go; None: nowhere.

    Attributes:
        records: JSON-lines file of every pair.
        gallery: PNG sheet.
        resume: Go on from the records that are there.
    """

    records: Path | None = None
    gallery: Path | None = None
    resume: bool = False


def collect_records(
    model: PhraseSegmenter, sheets: Iterable[Sheet], *, run: Run, outputs: Outputs = Outputs(), watch: Watch = iter
) -> list[ImageRecord]:
    """Ask a model everything, write the records as they come, and go on from those of a broken-off run where asked to.

    Args:
        model: Who is asked.
        sheets: What is asked.
        run: What is said of the model; where it differs, earlier records do not count.
        outputs: Where things go.
        watch: Sees every record.

    Raises:
        OutputError: The records can't be written.
        DataError: The records to go on from are not records.
    """
    done = load_done(outputs.records) if outputs.resume and outputs.records is not None else {}
    asked = evaluate_sheets(model, sheets, asked=run.asked, done=done)
    return list(watch(asked if outputs.records is None else keep_records(asked, outputs.records, done=done)))


def evaluate_set(
    model: PhraseSegmenter,
    name: str,
    samples: Sequence[Sample],
    *,
    run: Run,
    outputs: Outputs = Outputs(),
    watch: Watch = iter,
    by_example: bool = False,
) -> Report:
    """Ask a model everything about a set, write the records and the gallery, and sum up.

    Args:
        model: Who is asked.
        name: Of the set.
        samples: Its images.
        run: What the report says of the model.
        outputs: Where things go.
        watch: Sees every record.

    Raises:
        OutputError: A file can't be written.
        DataError: The records to go on from are not records.
    """
    class_names = EVAL_SETS[name].class_names if name in EVAL_SETS and not by_example else ()
    sheets = example_sheets(samples) if by_example else sample_sheets(samples, class_names=class_names)
    records = collect_records(model, sheets, run=run, outputs=outputs, watch=watch)
    if outputs.gallery is not None:
        title = f"{run.model} on {name}"
        sheet = draw_pairs(model, samples, choose_pairs(records), title=title, class_names=class_names)
        with atomic_file(outputs.gallery) as temporary:
            sheet.save(temporary)
    return build_report(f"{name}, by example" if by_example else name, records, run)


def load_made_directory(directory: Path) -> MadeMasks:
    """Load all files of made masks of a directory.

    Raises:
        DataError: There is none, or one is malformed.
    """
    paths = sorted(directory.glob("*.jsonl"))
    if not paths:
        raise DataError(f"{directory}: no file of made masks (*.jsonl) in it")
    return load_made_masks(paths)


def read_ids(path: Path) -> frozenset[str]:
    """Read sample ids from a text file, one a line.

    Raises:
        DataError: The file can't be read.
    """
    try:
        return frozenset(path.read_text(encoding="utf-8").splitlines()) - {""}
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: can't be read ({error})") from error
