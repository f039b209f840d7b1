"""What a benchmark is: from what a person chose to sheets, and from their records to numbers."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from promptseg.data.sample import Problem
from promptseg.errors import DataError
from promptseg.evaluate.runner import Sheet
from promptseg.evaluate.tally import Define

PromptKind = Literal["text", "exemplar"]


@dataclass(frozen=True)
class Choice:
    """What is asked of which part of a benchmark.

    Attributes:
        benchmark: Its name.
        root: Directory of the data set, as its authors hand it out.
        split: One of the benchmark's.
        prompt: What is asked with.
        folds: Those to take; empty where the benchmark has none.
        limit: How many images to take from the front, or episodes of each fold; None: all.
    """

    benchmark: str
    root: Path
    split: str
    prompt: PromptKind
    folds: tuple[int, ...] = ()
    limit: int | None = None

    @property
    def title(self) -> str:
        """All that was chosen, in words: "pascal-5i val, folds 0-3, asked with exemplar"."""
        folds = f", fold {self.folds[0]}" if len(self.folds) == 1 else f", folds 0-{len(self.folds) - 1}"
        unit = "episodes of each fold" if self.folds else "images"
        limit = "" if self.limit is None else f", the first {self.limit} {unit}"
        return f"{self.benchmark} {self.split}{folds if self.folds else ''}, asked with {self.prompt}{limit}"


@dataclass(frozen=True, eq=False)
class Exam:
    """A benchmark that was read: what is asked, and which numbers come of it.

    Attributes:
        sheets: One per image (and fold).
        define: The numbers.
        problems: What was left out of the data, and why.
    """

    sheets: tuple[Sheet, ...]
    define: Define
    problems: tuple[Problem, ...]


@dataclass(frozen=True)
class Benchmark:
    """One row of the table.

    Attributes:
        name: What a person types.
        summary: One line for people.
        load: Reads the data.
        splits: Those that are usual; the first one is the default.
        prompts: What can be asked with; the first one is the default.
        num_folds: Into how many its classes are divided; 0: they are not.
    """

    name: str
    summary: str
    load: Callable[[Choice], Exam]
    splits: tuple[str, ...]
    prompts: tuple[PromptKind, ...] = ("text",)
    num_folds: int = 0

    def choose(
        self,
        root: Path,
        *,
        split: str | None = None,
        prompt: str | None = None,
        fold: int | None = None,
        limit: int | None = None,
    ) -> Choice:
        """Check what a person chose; None: the default, and all folds.

        Raises:
            DataError: The benchmark has no such split, prompt or fold; the message says which it has.
        """
        if split is not None and split not in self.splits:
            raise DataError(f"{self.name} has no split '{split}'; it has {', '.join(self.splits)}")
        asked: PromptKind = next((kind for kind in self.prompts if kind == prompt), self.prompts[0])
        if prompt is not None and prompt != asked:
            raise DataError(f"{self.name} is not asked with '{prompt}' prompts, but with {' or '.join(self.prompts)}")
        if fold is not None and fold not in range(self.num_folds):
            folds = f"folds 0 to {self.num_folds - 1}" if self.num_folds else "no folds"
            raise DataError(f"{self.name} has no fold {fold}; it has {folds}")
        folds_asked = tuple(range(self.num_folds)) if fold is None else (fold,)
        return Choice(self.name, root, split or self.splits[0], asked, folds_asked, limit)
