"""The accumulator: takes the records of pictures, gives named numbers with 95 % intervals."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from promptseg.evaluate.definitions import Definition, define_numbers
from promptseg.evaluate.records import PairRecord, PictureRecord
from promptseg.metrics import bootstrap_interval

Define = Callable[[Sequence[PairRecord], Sequence[str | None]], Iterator[Definition]]
"""Lists every number that pairs have, as `definitions.define_numbers` does; each benchmark has its own."""


@dataclass(frozen=True)
class Number:
    """A measured number.

    Attributes:
        value: nan where it is undefined.
        low: Lower end of the 95 % interval; nan where there is none.
        high: Upper end.
        count: Pairs it was measured on.
        undefined: Pairs left out because their own value is undefined, such as the precision of an empty mask.
    """

    value: float
    low: float
    high: float
    count: int
    undefined: int


class Tally:
    """Collects pairs and draws the bootstrap by picture, or by video where the pictures are frames of one."""

    def __init__(self, define: Define = define_numbers, *, seed: int = 0, num_resamples: int = 1000) -> None:
        """Start empty.

        Args:
            define: Which numbers there are.
            seed: Of the bootstrap.
            num_resamples: Of the bootstrap.
        """
        self._define = define
        self._seed = seed
        self._num_resamples = num_resamples
        self._pairs: list[PairRecord] = []
        self._pictures: list[PictureRecord] = []

    def add(self, picture: PictureRecord) -> None:
        """Take in the pairs of one picture; a failed picture has none."""
        self._pairs += picture.pairs
        self._pictures += [picture] * len(picture.pairs)

    def numbers(self) -> Iterator[tuple[str, Number]]:
        """Yield (name, number) for everything that some pair so far has a part in."""
        _, unit_index = np.unique([picture.unit for picture in self._pictures], return_inverse=True)
        for definition in self._define(self._pairs, [picture.sequence for picture in self._pictures]):
            num_pairs = len(definition.pair_index)
            if not num_pairs + definition.undefined:
                continue
            low, high = bootstrap_interval(
                definition.statistic,
                unit_index[definition.pair_index],
                num_resamples=self._num_resamples,
                seed=self._seed,
            )
            value = float(definition.statistic(np.ones((1, num_pairs)))[0])
            yield definition.name, Number(value, low, high, num_pairs, definition.undefined)
