"""Percentile bootstrap over images: how much a metric would vary with other images."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from promptseg.metrics.statistics import Floats

# Weights of one block of replicates: 4 million float64 values are 32 MB.
_BLOCK_SIZE = 4_000_000


def bootstrap_interval(
    statistic: Callable[[Floats], Floats],
    unit_index: NDArray[np.integer],
    *,
    num_resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[float, float]:
    """Draw whole images with replacement and take the middle of the statistic's distribution.

    The pairs of one image are not independent of each other, so they are drawn together.

    Args:
        statistic: From weights (R, N) to values (R,), as in `promptseg.metrics.statistics`.
        unit_index: Image of every pair, shape (N,), int; pairs with one index are drawn together.
        num_resamples: Number of draws.
        level: Share of the distribution inside the interval.
        seed: Seed of the draws.

    Returns:
        Lower and upper end; nan for fewer than two images. Draws in which the statistic is undefined are left out.
    """
    units, unit_index = np.unique(unit_index, return_inverse=True)
    num_units = len(units)
    if num_units < 2:
        return float("nan"), float("nan")
    generator = np.random.default_rng(seed)
    block = max(1, _BLOCK_SIZE // len(unit_index))
    replicates = []
    for start in range(0, num_resamples, block):
        draws = min(block, num_resamples - start)
        times_drawn = generator.multinomial(num_units, np.full(num_units, 1 / num_units), size=draws)
        replicates.append(statistic(times_drawn[:, unit_index].astype(float)))
    values = np.concatenate(replicates)
    values = values[~np.isnan(values)]
    if not len(values):
        return float("nan"), float("nan")
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
