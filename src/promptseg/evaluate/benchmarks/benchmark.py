"""A benchmark: from what a person selected to examples, and from their records to metrics."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from promptseg.data.sample import Problem
from promptseg.errors import DataError
from promptseg.evaluate.accumulator import DefineMetrics
from promptseg.evaluate.runner import EvaluationExample, PhraseSegmenter

PromptKind = Literal["text", "exemplar"]


@dataclass(frozen=True)
class BenchmarkSelection:
    """A part of a benchmark, and the kind of prompt.

    Attributes:
        benchmark: Name of the benchmark.
        root: Directory of the data set, as its authors distribute it.
        split: One of the benchmark's splits.
        prompt: Kind of prompt that the model gets.
        folds: Folds to take; empty where the benchmark has none.
        limit: How many images to take from the front, or episodes of each fold; None: all.
        names: File of the classes, for a benchmark of maps whose list this package does not have; None: the usual ones.
    """

    benchmark: str
    root: Path
    split: str
    prompt: PromptKind
    folds: tuple[int, ...] = ()
    limit: int | None = None
    names: Path | None = None

    @property
    def title(self) -> str:
        """The selection in words: "pascal-5i val, folds 0-3, exemplar prompts"."""
        folds = f", fold {self.folds[0]}" if len(self.folds) == 1 else f", folds 0-{len(self.folds) - 1}"
        unit = "episodes of each fold" if self.folds else "images"
        limit = "" if self.limit is None else f", the first {self.limit} {unit}"
        return f"{self.benchmark} {self.split}{folds if self.folds else ''}, {self.prompt} prompts{limit}"


@dataclass(frozen=True, eq=False)
class LoadedBenchmark:
    """A benchmark whose data was read.

    Attributes:
        examples: One per image (and fold).
        define: Lists the metrics.
        problems: What was left out of the data, and why.
        adapt: Turns the model into what answers the queries; None: it does itself.
    """

    examples: tuple[EvaluationExample, ...]
    define: DefineMetrics
    problems: tuple[Problem, ...]
    adapt: Callable[[Any], PhraseSegmenter] | None = None


@dataclass(frozen=True)
class Benchmark:
    """One row of the benchmark table.

    Attributes:
        name: Name on the command line.
        summary: One line for people.
        load: Reads the data.
        splits: The usual splits; the first one is the default.
        prompts: Kinds of prompt that it can be run with; the first one is the default.
        num_folds: Into how many folds its classes are divided; 0: none.
    """

    name: str
    summary: str
    load: Callable[[BenchmarkSelection], LoadedBenchmark]
    splits: tuple[str, ...]
    prompts: tuple[PromptKind, ...] = ("text",)
    num_folds: int = 0

    def select(
        self,
        root: Path,
        *,
        split: str | None = None,
        prompt: str | None = None,
        fold: int | None = None,
        limit: int | None = None,
        names: Path | None = None,
    ) -> BenchmarkSelection:
        """Check a selection; None: the default, and all folds.

        Raises:
            DataError: The benchmark has no such split, prompt or fold; the message lists those that it has.
        """
        if split is not None and split not in self.splits:
            raise DataError(f"{self.name} has no split '{split}'; it has {', '.join(self.splits)}")
        kind: PromptKind = next((kind for kind in self.prompts if kind == prompt), self.prompts[0])
        if prompt is not None and prompt != kind:
            raise DataError(f"{self.name} has no '{prompt}' prompts; it has {' and '.join(self.prompts)}")
        if fold is not None and fold not in range(self.num_folds):
            folds = f"folds 0 to {self.num_folds - 1}" if self.num_folds else "no folds"
            raise DataError(f"{self.name} has no fold {fold}; it has {folds}")
        folds_selected = tuple(range(self.num_folds)) if fold is None else (fold,)
        return BenchmarkSelection(self.name, root, split or self.splits[0], kind, folds_selected, limit, names)
