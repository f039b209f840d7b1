"""Pixels counted at many thresholds at once, and the metrics that CLIPSeg's paper computes from them.

The published code adds 1 to the denominator of every ratio and compares with `>`; `added=1` gives its numbers and
`added=0` the plain ones. Counts of several pairs are summed before a ratio is formed.

Source:
    Lüddecke and Ecker 2022, arXiv:2112.10003; timojl/clipseg metrics.py (FixedIntervalMetrics) @ 77c4e2d (MIT).
    Differs: counts by binning instead of one sort and 49 searches per mask; weights, so that one definition gives
    both the value and its bootstrap interval.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.integrate import simpson, trapezoid

from promptseg.metrics.pixel_counts import BoolMask
from promptseg.metrics.statistics import Floats, divide

SWEEP_THRESHOLDS: tuple[float, ...] = tuple(np.linspace(0, 1, 51)[1:-1].tolist())
"""0.02, 0.04 ... 0.98."""


@dataclass(frozen=True)
class SweepCounts:
    """The pixels that a prediction and the ground truth share at T thresholds, over the pixels that are not ignored.

    Attributes:
        intersection: Pixels above each threshold that are true, T counts.
        predicted: Pixels above each threshold, T counts.
        actual: True pixels.
        valid: All pixels that count.
    """

    intersection: tuple[int, ...]
    predicted: tuple[int, ...]
    actual: int
    valid: int


def sweep_counts(
    probability: NDArray[np.float32],
    truth: BoolMask,
    *,
    valid: BoolMask | None = None,
    thresholds: Sequence[float] = SWEEP_THRESHOLDS,
) -> SweepCounts:
    """Count the pixels above each threshold, and the true ones among them.

    Args:
        probability: Shape (H, W), in [0, 1].
        truth: Shape (H, W), bool.
        valid: Pixels that count, shape (H, W), bool; None for all of them.
        thresholds: Ascending.

    Raises:
        ValueError: The shapes differ.
    """
    if probability.shape != truth.shape:
        raise ValueError(f"probability is {probability.shape}, truth is {truth.shape}; both must be (H, W)")
    # Compared as float32, as torch does: at a pixel of exactly float32(0.3), 0.3 is not exceeded.
    num_exceeded = np.searchsorted(np.asarray(thresholds, dtype=np.float32), probability, side="left")
    chosen = np.ones_like(truth) if valid is None else valid
    bins = len(thresholds) + 1
    everything = np.bincount(num_exceeded[chosen], minlength=bins)
    hits = np.bincount(num_exceeded[chosen & truth], minlength=bins)
    return SweepCounts(
        intersection=tuple(hits[::-1].cumsum()[::-1][1:].tolist()),
        predicted=tuple(everything[::-1].cumsum()[::-1][1:].tolist()),
        actual=int(hits.sum()),
        valid=int(everything.sum()),
    )


class Confusion(NamedTuple):
    """The four counts of pixels, each of shape (R, T): R pairs, or R weightings of pairs, at T thresholds."""

    hits: Floats
    false_alarms: Floats
    misses: Floats
    rejections: Floats


@dataclass(frozen=True, eq=False)
class Sweep:
    """The counts of N pairs as arrays.

    Attributes:
        intersection: Shape (N, T).
        predicted: Shape (N, T).
        actual: Shape (N,).
        valid: Shape (N,).
    """

    intersection: Floats
    predicted: Floats
    actual: Floats
    valid: Floats

    @classmethod
    def stack(cls, counts: Sequence[SweepCounts]) -> "Sweep":
        """Put the counts of one or more pairs together; all have the same thresholds."""
        columns = zip(*((pair.intersection, pair.predicted, pair.actual, pair.valid) for pair in counts), strict=True)
        return cls(*(np.array(column, dtype=float) for column in columns))

    def take(self, pair_index: NDArray[np.integer]) -> "Sweep":
        """Select the counts of some pairs."""
        return Sweep(*(values[pair_index] for values in (self.intersection, self.predicted, self.actual, self.valid)))

    def apart(self) -> Confusion:
        """Give the counts of each pair by itself, R = N."""
        hits, predicted, actual = self.intersection, self.predicted, self.actual[:, None]
        return Confusion(hits, predicted - hits, actual - hits, self.valid[:, None] - predicted - actual + hits)

    def pool(self, weights: Floats) -> Confusion:
        """Sum the counts of all pairs.

        Args:
            weights: Shape (R, N), as in `promptseg.metrics.statistics`.
        """
        summed = (weights @ values for values in (self.intersection, self.predicted, self.actual, self.valid))
        return Sweep(*summed).apart()


def foreground_iou(counts: Confusion, *, added: float = 0.0) -> Floats:
    """Compute the IoU of the foreground (IoU_FG), shape (R, T)."""
    return divide(counts.hits, added + counts.hits + counts.false_alarms + counts.misses)


def binary_iou(counts: Confusion, *, added: float = 0.0) -> Floats:
    """Compute the mean of the IoU of foreground and of background (IoU_BIN, FB-IoU), shape (R, T)."""
    background = divide(counts.rejections, added + counts.rejections + counts.misses + counts.false_alarms)
    return (foreground_iou(counts, added=added) + background) / 2


def mean_pair_iou(sweep: Sweep, weights: Floats, *, added: float = 0.0) -> Floats:
    """Compute the mean of the foreground IoU that each pair has by itself, over the pairs where it is defined.

    Args:
        sweep: Of N pairs.
        weights: Shape (R, N).
        added: To the denominator of each IoU.

    Returns:
        Shape (R, T).
    """
    iou = foreground_iou(sweep.apart(), added=added)
    defined = ~np.isnan(iou)
    return divide(weights @ np.where(defined, iou, 0.0), weights @ defined)


def mean_group_iou(sweep: Sweep, group_index: NDArray[np.integer], weights: Floats, *, added: float = 0.0) -> Floats:
    """Compute the mean of the foreground IoU that each group of pairs has when pooled: mIoU over classes.

    Args:
        sweep: Of N pairs.
        group_index: Shape (N,), int: the class of each pair.
        weights: Shape (R, N).
        added: To the denominator of each group's IoU.

    Returns:
        Shape (R, T). A group without weight is left out; nan where no group is left.
    """
    total = np.zeros((len(weights), sweep.intersection.shape[1]))
    num_groups = np.zeros((len(weights), 1))
    for group in np.unique(group_index):
        members = np.flatnonzero(group_index == group)
        iou = foreground_iou(sweep.take(members).pool(weights[:, members]), added=added)
        counted = (weights[:, members].sum(axis=1, keepdims=True) > 0) & ~np.isnan(iou)
        total += np.where(counted, iou, 0.0)
        num_groups = num_groups + counted
    return divide(total, num_groups)


def simpson_average_precision(counts: Confusion) -> Floats:
    """Compute average precision as CLIPSeg's code does: Simpson's rule on precision over recall.

    Thresholds above which there is no pixel are left out, 1 is added to both denominators, and equal points count
    once. Recall outside the curve (below that of the highest threshold, above that of the lowest) adds no area.

    Args:
        counts: Pooled; T thresholds.

    Returns:
        Shape (R,); nan where no threshold is exceeded by any pixel.

    Source:
        timojl/clipseg metrics.py; scipy.integrate.simps of its time, which for an even number of points takes the mean
        of two: the trapezoidal rule on the first interval, and on the last.
    """
    predicted = counts.hits + counts.false_alarms
    precision = counts.hits / (1 + predicted)
    recall = counts.hits / (1 + counts.hits + counts.misses)
    areas = np.full(len(predicted), np.nan)
    for row, exceeded in enumerate(predicted > 0):
        # By recall alone, as published: points of equal recall stay in the order of the set.
        points = set(zip(recall[row, exceeded].tolist(), precision[row, exceeded].tolist(), strict=True))
        if points:
            areas[row] = _simpson(np.array(sorted(points, key=lambda point: point[0])))
    return areas


def _simpson(points: Floats) -> float:
    x, y = points.T
    if len(points) % 2:
        return float(simpson(y, x=x))
    first = trapezoid(y[:2], x=x[:2]) + simpson(y[1:], x=x[1:])
    last = simpson(y[:-1], x=x[:-1]) + trapezoid(y[-2:], x=x[-2:])
    return float(first + last) / 2


def step_average_precision(counts: Confusion) -> Floats:
    """Compute average precision of the pooled pixels.

    It is the sum over the thresholds, from high to low, of recall gained x precision.
    Pixels between two thresholds count as ties: scikit-learn's `average_precision_score` on the binned probabilities.

    Args:
        counts: Pooled; T thresholds, below the lowest of which every pixel is a last bin.

    Returns:
        Shape (R,); nan where nothing is true.
    """
    actual = (counts.hits + counts.misses)[:, :1]
    total = (counts.hits + counts.false_alarms + counts.misses + counts.rejections)[:, :1]
    # From the strictest threshold to none at all, which every pixel passes.
    hits = np.concatenate([counts.hits[:, ::-1], actual], axis=1)
    predicted = np.concatenate([(counts.hits + counts.false_alarms)[:, ::-1], total], axis=1)
    gained = np.diff(hits, axis=1, prepend=0.0)
    precision = np.where(predicted > 0, hits / np.maximum(predicted, 1), 0.0)
    return divide((gained * precision).sum(axis=1), actual[:, 0])
