"""The metric accumulator: takes the records of images, gives named metrics with 95 % intervals."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from promptseg.evaluate.definitions import MetricDefinition, define_metrics
from promptseg.evaluate.records import ImageRecord, PairRecord
from promptseg.metrics import bootstrap_interval

DefineMetrics = Callable[[Sequence[PairRecord], Sequence[str | None]], Iterator[MetricDefinition]]
"""Lists every metric that pairs have, as `definitions.define_metrics` does; each benchmark has its own."""


@dataclass(frozen=True)
class MetricValue:
    """A measured metric.

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


class MetricAccumulator:
    """Collects pairs; the bootstrap draws images, or whole videos where the images are frames."""

    def __init__(self, define: DefineMetrics = define_metrics, *, seed: int = 0, num_resamples: int = 1000) -> None:
        """Start empty.

        Args:
            define: Lists the metrics.
            seed: Seed of the bootstrap.
            num_resamples: Number of bootstrap draws.
        """
        self._define = define
        self._seed = seed
        self._num_resamples = num_resamples
        self._pairs: list[PairRecord] = []
        self._images: list[ImageRecord] = []

    def update(self, image: ImageRecord) -> None:
        """Add the pairs of one image; a failed image has none."""
        self._pairs += image.pairs
        self._images += [image] * len(image.pairs)

    def compute(self) -> Iterator[tuple[str, MetricValue]]:
        """Yield (name, value) of every metric that is measured on at least one pair."""
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
            yield definition.name, MetricValue(value, low, high, num_pairs, definition.undefined)
