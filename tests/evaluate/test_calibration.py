"""Thresholds and calibration against scikit-learn and against brute force."""

import numpy as np
import pytest
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from promptseg.errors import DataError
from promptseg.evaluate.calibration import (
    calibrate,
    choose_mask_threshold,
    choose_presence_threshold,
    fit_platt,
    iou_by_threshold,
)
from promptseg.metrics import count_pixels


def scores(seed=0, num_present=80, num_absent=400):
    generator = np.random.default_rng(seed)
    present = np.arange(num_present + num_absent) < num_present
    return generator.normal(np.where(present, 2.0, -1.0), 1.5), present


def test_iou_by_threshold_equals_counting_at_each_threshold():
    generator = np.random.default_rng(1)
    truth, valid = generator.random((2, 20, 30)) > 0.3
    probability = generator.random((20, 30), dtype=np.float32)
    ious = iou_by_threshold(probability, truth, valid=valid, num_bins=50)
    expected = [count_pixels(probability >= step / 50, truth, valid=valid).iou for step in range(50)]
    np.testing.assert_allclose(ious, expected)


def test_mask_threshold_is_the_best_and_the_middle_of_equals():
    ious = np.array([[0.9, 0.2, 0.6, 0.1, 0.0], [0.9, 0.2, 0.6, 0.7, 0.0]])
    assert choose_mask_threshold(ious) == 2 / 5, "0 is no threshold, whatever it scores"
    assert choose_mask_threshold(np.ones((1, 100))) == 0.5


def test_presence_threshold_is_the_best_by_brute_force():
    presence, present = scores()
    presence = expit(presence)

    def balanced_accuracy(threshold):
        return ((presence[present] >= threshold).mean() + (presence[~present] < threshold).mean()) / 2

    chosen = choose_presence_threshold(presence, present)
    assert balanced_accuracy(chosen) == pytest.approx(max(balanced_accuracy(value) for value in presence))
    assert chosen not in presence


@pytest.mark.parametrize("share", [0.5, 0.8, 0.9, 1.0])
def test_presence_threshold_keeps_the_share_asked_for_and_no_more_than_needed(share):
    presence, present = scores()
    chosen = choose_presence_threshold(presence, present, min_present_kept=share)
    assert (presence[present] >= chosen).mean() >= share
    next_value = presence[presence > chosen].min() + 1e-9
    assert (presence[present] >= next_value).mean() < share


def test_platt_agrees_with_scikit_learn():
    logits, present = scores()
    num_present, num_absent = present.sum(), (~present).sum()
    # Smoothed targets as weights: each pair once with label 1 and once with label 0.
    target = np.where(present, (num_present + 1) / (num_present + 2), 1 / (num_absent + 2))
    side = np.where(present, 0.5 / num_present, 0.5 / num_absent)
    model = LogisticRegression(C=1e12, tol=1e-10).fit(
        np.r_[logits, logits][:, None],
        np.r_[np.ones_like(target), np.zeros_like(target)],
        sample_weight=np.r_[side * target, side * (1 - target)] * len(logits),
    )
    platt = fit_platt(logits, present)
    assert platt.scale == pytest.approx(model.coef_[0, 0], rel=1e-3)
    assert platt.shift == pytest.approx(model.intercept_[0], abs=1e-3)


def test_platt_recovers_a_known_line_and_survives_perfect_separation():
    generator = np.random.default_rng(2)
    logits = generator.normal(0, 3, 60_000)
    present = generator.random(60_000) < expit(0.5 * logits)
    platt = fit_platt(logits, present)
    assert (platt.scale, platt.shift) == (pytest.approx(0.5, abs=0.02), pytest.approx(0, abs=0.05))
    perfect = fit_platt(np.array([-1.0, -2.0, 1.0, 2.0]), np.array([False, False, True, True]))
    assert np.isfinite(perfect).all()


def test_platt_refuses_a_presence_that_is_upside_down():
    logits, present = scores()
    with pytest.raises(DataError, match="presence is not higher for present phrases"):
        fit_platt(-logits, present)


def test_calibrate_replaces_the_line_that_was_there():
    logits, present = scores()
    ious = np.tile(np.linspace(0, 1, 10), (present.sum(), 1))
    fresh = calibrate(ious, expit(logits), present)
    again = calibrate(ious, expit(0.3 * logits - 2), present, current=(0.3, -2.0))
    assert again.presence_calibration == pytest.approx(fresh.presence_calibration, abs=0.02)
    assert again.presence_threshold == pytest.approx(fresh.presence_threshold, abs=0.01)
    assert again.present_kept == fresh.present_kept
    assert fresh.calibration_error <= again.calibration_error_before
    assert fresh.mask_threshold == 0.9
    assert fresh.mean_iou == 1
    assert (fresh.num_present, fresh.num_absent) == (80, 400)
    scale, shift = again.presence_calibration
    final = expit(scale * logits + shift)
    assert (final[present] >= again.presence_threshold).mean() == again.present_kept


@pytest.mark.parametrize("present", [np.ones(3, bool), np.zeros(3, bool)])
def test_calibrate_needs_both_sides(present):
    with pytest.raises(DataError, match="thresholds need present and absent phrases"):
        calibrate(np.ones((3, 5)), np.array([0.1, 0.5, 0.9]), present)
