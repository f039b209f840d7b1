"""Pixel metrics of one (image, phrase) pair: counts, IoU, precision, recall, Dice and average precision."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BoolMask = NDArray[np.bool_]


def _ratio(numerator: float, denominator: float) -> float:
    return numerator / denominator if denominator else float("nan")


@dataclass(frozen=True)
class PixelCounts:
    """The pixels that a prediction and the ground truth share, counted over the pixels that are not ignored.

    Each ratio is nan where its denominator is zero.

    Attributes:
        intersection: Pixels both predicted and true.
        predicted: Predicted pixels.
        actual: True pixels.
        valid: All pixels that count.
    """

    intersection: int
    predicted: int
    actual: int
    valid: int

    @property
    def union(self) -> int:
        """Pixels predicted or true."""
        return self.predicted + self.actual - self.intersection

    @property
    def iou(self) -> float:
        """Intersection over union."""
        return _ratio(self.intersection, self.union)

    @property
    def precision(self) -> float:
        """Share of the predicted pixels that are true; nan for an empty prediction."""
        return _ratio(self.intersection, self.predicted)

    @property
    def recall(self) -> float:
        """Share of the true pixels that are predicted; nan for an empty truth."""
        return _ratio(self.intersection, self.actual)

    @property
    def dice(self) -> float:
        """Twice the intersection over the sum of both areas."""
        return _ratio(2 * self.intersection, self.predicted + self.actual)

    @property
    def iou_of_everything(self) -> float:
        """IoU of the prediction "the whole image": a baseline that needs no model."""
        return _ratio(self.actual, self.valid)


def count_pixels(mask: BoolMask, truth: BoolMask, *, valid: BoolMask | None = None) -> PixelCounts:
    """Count the pixels that a mask and its ground truth share.

    Args:
        mask: Prediction, shape (H, W), bool.
        truth: Ground truth, shape (H, W), bool.
        valid: Pixels that count, shape (H, W), bool; None for all of them.

    Raises:
        ValueError: The shapes differ.
    """
    if mask.shape != truth.shape:
        raise ValueError(f"mask is {mask.shape}, truth is {truth.shape}; both must be (H, W) of the image")
    if valid is not None:
        mask, truth = mask & valid, truth & valid
    return PixelCounts(
        intersection=int(np.count_nonzero(mask & truth)),
        predicted=int(np.count_nonzero(mask)),
        actual=int(np.count_nonzero(truth)),
        valid=truth.size if valid is None else int(np.count_nonzero(valid)),
    )


def count_by_probability(
    probability: NDArray[np.float32], truth: BoolMask, *, valid: BoolMask | None, num_bins: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Count the pixels inside and outside the truth by their probability, in equal bins: two arrays (num_bins,)."""
    bins = np.minimum((probability * num_bins).astype(np.int32), num_bins - 1)
    hits = np.bincount(bins[truth if valid is None else truth & valid], minlength=num_bins)
    misses = np.bincount(bins[~truth if valid is None else ~truth & valid], minlength=num_bins)
    return hits, misses


def pixel_average_precision(
    probability: NDArray[np.float32], truth: BoolMask, *, valid: BoolMask | None = None, num_bins: int = 1000
) -> float:
    """Compute the average precision of the pixels of one image, ranked by probability.

    Probabilities are put into equal bins, pixels of one bin count as ties, and AP = sum over bins, from high to low, of
    (recall gained) x (precision so far): scikit-learn's `average_precision_score` on the binned probabilities.

    Args:
        probability: Shape (H, W), in [0, 1].
        truth: Shape (H, W), bool.
        valid: Pixels that count, shape (H, W), bool; None for all of them.
        num_bins: Number of bins between 0 and 1.

    Returns:
        A value in (0, 1]; nan where the truth is empty.
    """
    hits, misses = count_by_probability(probability, truth, valid=valid, num_bins=num_bins)
    if not hits.any():
        return float("nan")
    hits_so_far, misses_so_far = hits[::-1].cumsum(), misses[::-1].cumsum()
    precision = hits_so_far / np.maximum(hits_so_far + misses_so_far, 1)
    return float((hits[::-1] * precision).sum() / hits.sum())


def argmax_counts(
    assigned: NDArray[np.integer], truths: BoolMask, *, valid: BoolMask | None = None
) -> tuple[PixelCounts, ...]:
    """Count, class by class, the pixels that a labeling shares with the ground truth.

    Args:
        assigned: Class of every pixel, shape (H, W), int in [0, C); -1 for a pixel left without a class.
        truths: Ground truth of every class, shape (C, H, W), bool.
        valid: Pixels that count, shape (H, W), bool; None for all of them.

    Returns:
        C counts, in the order of the classes.
    """
    return tuple(count_pixels(assigned == index, truth, valid=valid) for index, truth in enumerate(truths))
