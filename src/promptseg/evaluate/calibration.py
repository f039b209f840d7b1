"""Choosing thresholds: mask threshold, presence threshold and calibration of presence, fitted on annotated images."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit, logit

from promptseg.errors import DataError
from promptseg.metrics import expected_calibration_error
from promptseg.metrics.pixel_counts import BoolMask, count_by_probability
from promptseg.metrics.statistics import Floats

# Presence comes as float32: nearer to 0 or 1 its logit is rounding.
_PRESENCE_EPSILON = 1e-6


@dataclass(frozen=True)
class Calibration:
    """The thresholds of a checkpoint's config, and how well they do.

    The figures from `mean_iou` down were measured on the pairs of the fit.

    Attributes:
        mask_threshold: Probability from which a pixel belongs to the mask.
        presence_threshold: Calibrated presence from which a phrase counts as present.
        presence_calibration: (scale, shift): presence = sigmoid(scale x logit + shift), on the model's own logit.
        mean_iou: Ungated mean IoU of the present pairs at the mask threshold.
        present_kept: Share of the present pairs at or above the presence threshold.
        absent_rejected: Share of the absent pairs below it.
        calibration_error: Expected calibration error of the calibrated presence, both sides counting the same.
        calibration_error_before: The same for the presence before the fit.
        num_present: Number of present pairs.
        num_absent: Number of absent pairs.
    """

    mask_threshold: float
    presence_threshold: float
    presence_calibration: tuple[float, float]
    mean_iou: float
    present_kept: float
    absent_rejected: float
    calibration_error: float
    calibration_error_before: float
    num_present: int
    num_absent: int


class Platt(NamedTuple):
    """A line on logits: sigmoid(scale x logit + shift) is a calibrated probability."""

    scale: float
    shift: float


def calibrate(
    ious: Floats,
    presence: Floats,
    present: NDArray[np.bool_],
    *,
    current: tuple[float, float] = (1.0, 0.0),
    min_present_kept: float | None = None,
) -> Calibration:
    """Choose both thresholds and calibrate presence.

    Args:
        ious: IoU of every present pair at every candidate threshold, shape (P, T), as `iou_by_threshold` gives it.
        presence: Predicted presence of every pair, shape (N,), in [0, 1].
        present: Whether the phrase is in the image, shape (N,), bool.
        current: The (scale, shift) that `presence` was computed with; the new one replaces it.
        min_present_kept: See `choose_presence_threshold`.

    Raises:
        DataError: There are no present or no absent pairs, or the model's presence does not separate them.
    """
    if present.all() or not present.any():
        raise DataError(
            f"thresholds need present and absent phrases; there are {present.sum()} and {(~present).sum()}. Absent "
            'phrases come from masks that are black all over, or from an index\'s complete names ("exhaustive")'
        )
    mask_threshold = choose_mask_threshold(ious)
    logits = logit(np.clip(presence, _PRESENCE_EPSILON, 1 - _PRESENCE_EPSILON))
    scale, shift = fit_platt(logits, present)
    calibrated = expit(scale * logits + shift)
    presence_threshold = choose_presence_threshold(calibrated, present, min_present_kept=min_present_kept)
    weights = _balanced_weights(present)[None]
    return Calibration(
        mask_threshold=mask_threshold,
        presence_threshold=presence_threshold,
        presence_calibration=(scale * current[0], scale * current[1] + shift),
        mean_iou=float(ious.mean(axis=0).max()),
        present_kept=float((calibrated[present] >= presence_threshold).mean()),
        absent_rejected=float((calibrated[~present] < presence_threshold).mean()),
        calibration_error=float(expected_calibration_error(calibrated, present, weights)[0]),
        calibration_error_before=float(expected_calibration_error(presence, present, weights)[0]),
        num_present=int(present.sum()),
        num_absent=int((~present).sum()),
    )


def iou_by_threshold(
    probability: NDArray[np.float32], truth: BoolMask, *, valid: BoolMask | None = None, num_bins: int = 100
) -> Floats:
    """Compute the IoU of one pair at the thresholds 0, 1/num_bins, 2/num_bins ... below 1.

    Args:
        probability: Shape (H, W), in [0, 1].
        truth: Ground truth, shape (H, W), bool, not empty.
        valid: Pixels that count, shape (H, W), bool; None for all of them.
        num_bins: T.

    Returns:
        Shape (T,).
    """
    hits, misses = count_by_probability(probability, truth, valid=valid, num_bins=num_bins)
    return np.asarray(hits[::-1].cumsum()[::-1] / (hits.sum() + misses[::-1].cumsum()[::-1]))


def choose_mask_threshold(ious: Floats) -> float:
    """Choose the threshold of the best mean IoU; the middle one of equals.

    Args:
        ious: Shape (P, T), P pairs at the thresholds 0, 1/T, 2/T ...

    Returns:
        A threshold inside (0, 1).
    """
    means = ious.mean(axis=0)[1:]
    best = np.flatnonzero(means == means.max()) + 1
    return float(best[len(best) // 2] / ious.shape[1])


def choose_presence_threshold(
    presence: Floats, present: NDArray[np.bool_], *, min_present_kept: float | None = None
) -> float:
    """Choose the threshold of the best balanced accuracy, or the highest that keeps enough of the present pairs.

    Args:
        presence: Shape (N,).
        present: Shape (N,), bool; both sides have members.
        min_present_kept: Share of the present pairs that must reach the threshold; None: balanced accuracy decides.

    Returns:
        A threshold half-way between two neighboring values of `presence`.
    """
    values = np.unique(presence)
    candidates = np.r_[values[0], (values[:-1] + values[1:]) / 2]
    kept = 1 - np.searchsorted(np.sort(presence[present]), candidates) / present.sum()
    rejected = np.searchsorted(np.sort(presence[~present]), candidates) / (~present).sum()
    if min_present_kept is None:
        return float(candidates[np.argmax(kept + rejected)])
    return float(candidates[np.flatnonzero(kept >= min_present_kept)[-1]])


def fit_platt(logits: Floats, present: NDArray[np.bool_]) -> Platt:
    """Fit the line on logits that makes presence a probability, for a phrase that is present in every second image.

    Maximum likelihood. Both sides have the same weight, since the number of absent phrases is arbitrary. Platt's
    smoothed targets keep the scale finite for a model without mistakes.

    Args:
        logits: Shape (N,), finite.
        present: Shape (N,), bool; both sides have members.

    Raises:
        DataError: Present pairs do not score higher than absent ones.

    Source:
        Platt 1999, "Probabilistic outputs for support vector machines", section 2.2. Differs: weighted by side.
    """
    num_present, num_absent = int(present.sum()), int((~present).sum())
    targets = np.where(present, (num_present + 1) / (num_present + 2), 1 / (num_absent + 2))
    weights = _balanced_weights(present)

    def loss(line: Floats) -> tuple[float, Floats]:
        scores = line[0] * logits + line[1]
        losses = np.logaddexp(0, scores) - targets * scores
        gradient = weights * (expit(scores) - targets)
        return float(weights @ losses), np.array([gradient @ logits, gradient.sum()])

    scale, shift = minimize(loss, x0=np.array([1.0, 0.0]), jac=True, method="BFGS").x
    if not scale > 0 or not math.isfinite(scale):
        raise DataError("presence is not higher for present phrases than for absent ones, so it can't be calibrated")
    return Platt(float(scale), float(shift))


def _balanced_weights(present: NDArray[np.bool_]) -> Floats:
    """Compute weights that sum to 1/2 on each side, shape (N,)."""
    return np.asarray(np.where(present, 0.5 / present.sum(), 0.5 / (~present).sum()))
