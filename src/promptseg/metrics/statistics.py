"""Averages over many (image, phrase) pairs.

Every function takes `weights` of shape (R, N): R weightings of the same N pairs, and returns R values. A row of ones
gives the metric itself; a row that counts how often each pair was drawn gives one bootstrap replicate. One definition
serves both.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]


def divide(numerator: Floats, denominator: Floats) -> Floats:
    """Divide element by element; nan where the denominator is not positive."""
    quotient = np.full(numerator.shape, np.nan)
    np.divide(numerator, denominator, out=quotient, where=denominator > 0)
    return quotient


def weighted_mean(values: Floats, weights: Floats) -> Floats:
    """Compute the mean over the pairs whose value is defined.

    Args:
        values: Shape (N,); nan leaves a pair out.
        weights: Shape (R, N).

    Returns:
        Shape (R,); nan where no weight is left.
    """
    defined = ~np.isnan(values)
    return weighted_ratio(values[defined], np.ones(defined.sum()), weights[:, defined])


def weighted_ratio(numerators: Floats, denominators: Floats, weights: Floats) -> Floats:
    """Compute the ratio of two sums: cumulative IoU from intersections and unions.

    Args:
        numerators: Shape (N,).
        denominators: Shape (N,), not negative.
        weights: Shape (R, N).

    Returns:
        Shape (R,); nan where the denominators sum to zero.
    """
    return divide(weights @ numerators, weights @ denominators)


def weighted_median(values: Floats, weights: Floats) -> Floats:
    """Compute the median of the values, each repeated as often as its weight.

    Args:
        values: Shape (N,); nan leaves a pair out.
        weights: Shape (R, N), whole numbers.

    Returns:
        Shape (R,), the mean of the two middle values where their number is even; nan where no weight is left.
    """
    defined = np.flatnonzero(~np.isnan(values))
    order = defined[np.argsort(values[defined], kind="stable")]
    if not len(order):
        return np.full(len(weights), np.nan)
    ranks = np.cumsum(weights[:, order], axis=1)
    total = ranks[:, -1:]
    lower, upper = np.floor((total - 1) / 2), np.floor(total / 2)
    middles = [values[order][(ranks > position).argmax(axis=1)] for position in (lower, upper)]
    return np.where(total[:, 0] > 0, (middles[0] + middles[1]) / 2, np.nan)


def area_under_roc(scores: Floats, present: NDArray[np.bool_], weights: Floats) -> Floats:
    """Compute the probability that a present pair scores above an absent one; ties count half.

    Args:
        scores: Shape (N,).
        present: Shape (N,), bool.
        weights: Shape (R, N).

    Returns:
        Shape (R,); nan where there is no present or no absent pair.
    """
    if not len(scores):
        return np.full(len(weights), np.nan)
    order = np.argsort(scores, kind="stable")
    first_of_ties = np.flatnonzero(np.r_[True, np.diff(scores[order]) > 0])
    positives = np.add.reduceat(weights[:, order] * present[order], first_of_ties, axis=1)
    negatives = np.add.reduceat(weights[:, order] * ~present[order], first_of_ties, axis=1)
    below = np.cumsum(negatives, axis=1) - negatives / 2
    return divide((positives * below).sum(axis=1), positives.sum(axis=1) * negatives.sum(axis=1))


def mean_class_iou(
    intersections: Floats,
    unions: Floats,
    class_index: NDArray[np.integer],
    weights: Floats,
    *,
    num_classes: int | None = None,
) -> Floats:
    """Compute the mean over the classes of the IoU that each has over the whole data set (mIoU).

    Args:
        intersections: Shape (N,), pixels; one entry a (image, class) pair.
        unions: Shape (N,), pixels.
        class_index: Shape (N,), int from 0.
        weights: Shape (R, N).
        num_classes: Take the mean over this many classes, with an IoU of 0 for those without a pixel, as the code of
            zero-shot segmentation does; None: a class that is neither predicted nor true anywhere is left out.

    Returns:
        Shape (R,); nan where no class is left.
    """
    if not len(class_index):
        return np.full(len(weights), np.nan)
    ious = divide(sum_by_class(intersections, class_index, weights), sum_by_class(unions, class_index, weights))
    if num_classes is None:
        return mean_defined(ious)
    return np.nan_to_num(ious).sum(axis=1) / num_classes


def mean_true_class_iou(
    intersections: Floats, unions: Floats, actuals: Floats, class_index: NDArray[np.integer], weights: Floats
) -> Floats:
    """Compute `mean_class_iou` over the classes that occur in the ground truth, as detectron2's `SemSegEvaluator` does.

    A class that is only predicted is left out; its pixels still cost the classes that are true there.

    Args:
        intersections: Shape (N,), pixels; one entry a (image, class) pair.
        unions: Shape (N,), pixels.
        actuals: True pixels, shape (N,).
        class_index: Shape (N,), int from 0.
        weights: Shape (R, N).

    Returns:
        Shape (R,); nan where no class is left.
    """
    if not len(class_index):
        return np.full(len(weights), np.nan)
    ious = divide(sum_by_class(intersections, class_index, weights), sum_by_class(unions, class_index, weights))
    is_true = sum_by_class(actuals, class_index, weights) > 0
    return mean_defined(np.where(is_true, ious, np.nan))


def sum_by_class(values: Floats, class_index: NDArray[np.integer], weights: Floats) -> Floats:
    """Sum the weighted values of each class.

    Args:
        values: Shape (N,).
        class_index: Shape (N,), int; at least one.
        weights: Shape (R, N).

    Returns:
        Shape (R, C), the classes that occur in ascending order.
    """
    order = np.argsort(class_index, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(class_index[order]) > 0])
    return np.add.reduceat(weights[:, order] * values[order], starts, axis=1)


def mean_defined(values: Floats) -> Floats:
    """Average each row of values, shape (R, C), over its defined values; nan where there is none."""
    defined = ~np.isnan(values)
    return divide(np.where(defined, values, 0.0).sum(axis=1), defined.sum(axis=1).astype(float))


def expected_calibration_error(
    probabilities: Floats, present: NDArray[np.bool_], weights: Floats, *, num_bins: int = 10
) -> Floats:
    """Compute the mean distance between a probability and how often it comes true.

    Args:
        probabilities: Shape (N,), in [0, 1].
        present: Shape (N,), bool.
        weights: Shape (R, N).
        num_bins: Equal bins between 0 and 1; each counts by the weight of its pairs.

    Returns:
        Shape (R,), in [0, 1]; nan where no weight is left.
    """
    member = np.eye(num_bins)[np.minimum((probabilities * num_bins).astype(int), num_bins - 1)]
    gaps = np.abs(weights @ (member * (probabilities - present)[:, None])).sum(axis=1)
    return divide(gaps, weights.sum(axis=1))
