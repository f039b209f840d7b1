"""The accumulator: takes the records of images, gives named numbers with 95 % intervals."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from promptseg.evaluate.definitions import Definition, define_numbers
from promptseg.evaluate.records import ImageRecord, PairRecord
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
    """Collects pairs and draws the bootstrap by image, or by video where the images are frames of one."""

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
        self._images: list[ImageRecord] = []

    def add(self, image: ImageRecord) -> None:
        """Take in the pairs of one image; a failed image has none."""
        self._pairs += image.pairs
        self._images += [image] * len(image.pairs)

    def numbers(self) -> Iterator[tuple[str, Number]]:
        """Yield (name, number) for everything that some pair so far has a part in."""
        _, unit_index = np.unique([image.unit for image in self._images], return_inverse=True)
        for definition in self._define(self._pairs, [image.sequence for image in self._images]):
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
