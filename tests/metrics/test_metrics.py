"""Metrics against independent implementations (scikit-learn, pycocotools, scipy), and their properties."""

import numpy as np
import pytest
from pycocotools import mask as coco_mask
from scipy import stats
from sklearn import metrics as sklearn_metrics
from sklearn.calibration import calibration_curve

from promptseg.metrics import (
    area_under_roc,
    argmax_counts,
    bootstrap_interval,
    count_pixels,
    expected_calibration_error,
    mean_class_iou,
    pixel_average_precision,
    weighted_mean,
    weighted_median,
    weighted_ratio,
)

SEEDS = range(5)


def random_masks(seed, count=2, size_hw=(23, 31)):
    return np.random.default_rng(seed).random((count, *size_hw)) > 0.6


def ones(values):
    return np.ones((1, len(values)))


@pytest.mark.parametrize("seed", SEEDS)
def test_pixel_counts_agree_with_scikit_learn_and_pycocotools(seed):
    mask, truth = random_masks(seed)
    counts = count_pixels(mask, truth)
    assert counts.iou == pytest.approx(sklearn_metrics.jaccard_score(truth.ravel(), mask.ravel()))
    assert counts.precision == pytest.approx(sklearn_metrics.precision_score(truth.ravel(), mask.ravel()))
    assert counts.recall == pytest.approx(sklearn_metrics.recall_score(truth.ravel(), mask.ravel()))
    assert counts.dice == pytest.approx(sklearn_metrics.f1_score(truth.ravel(), mask.ravel()))
    encoded = [coco_mask.encode(np.asfortranarray(array.astype(np.uint8))) for array in (mask, truth)]
    assert counts.iou == pytest.approx(coco_mask.iou(encoded[:1], encoded[1:], [0])[0, 0])
    everything = count_pixels(np.ones_like(truth), truth)
    assert counts.iou_of_everything == pytest.approx(everything.iou)


@pytest.mark.parametrize("seed", SEEDS)
def test_pixel_counts_ignore_what_is_not_valid(seed):
    mask, truth, valid = random_masks(seed, count=3)
    counts = count_pixels(mask, truth, valid=valid)
    assert counts.iou == pytest.approx(sklearn_metrics.jaccard_score(truth[valid], mask[valid]))
    assert counts == count_pixels(mask ^ ~valid, truth, valid=valid), "a change outside valid must not count"
    assert counts.valid == valid.sum()


def test_pixel_counts_of_perfect_and_empty_masks():
    _, truth = random_masks(0)
    nothing = np.zeros_like(truth)
    perfect = count_pixels(truth, truth)
    assert (perfect.iou, perfect.precision, perfect.recall, perfect.dice) == (1, 1, 1, 1)
    missed = count_pixels(nothing, truth)
    assert (missed.iou, missed.recall, missed.dice) == (0, 0, 0)
    assert np.isnan(missed.precision)
    assert np.isnan(count_pixels(nothing, nothing).iou)


def test_pixel_counts_refuse_another_size():
    with pytest.raises(ValueError, match=r"mask is \(2, 3\), truth is \(3, 2\)"):
        count_pixels(np.zeros((2, 3), bool), np.zeros((3, 2), bool))


@pytest.mark.parametrize("seed", SEEDS)
def test_average_precision_agrees_with_scikit_learn_on_binned_scores(seed):
    generator = np.random.default_rng(seed)
    truth = generator.random((40, 50)) > 0.7
    probability = np.clip(generator.normal(0.4 + 0.2 * truth, 0.2), 0, 1).astype(np.float32)
    valid = generator.random((40, 50)) > 0.1
    measured = pixel_average_precision(probability, truth, valid=valid)
    binned = np.floor(probability.clip(0, 0.9999) * 1000)
    assert measured == pytest.approx(sklearn_metrics.average_precision_score(truth[valid], binned[valid]))
    exact = sklearn_metrics.average_precision_score(truth[valid], probability[valid])
    assert measured == pytest.approx(exact, abs=0.01), "1000 bins are close to the exact ranking"


def test_average_precision_of_perfect_constant_and_empty_cases():
    _, truth = random_masks(1)
    assert pixel_average_precision(truth.astype(np.float32), truth) == 1
    assert pixel_average_precision(np.full(truth.shape, 0.5, np.float32), truth) == pytest.approx(truth.mean())
    assert np.isnan(pixel_average_precision(truth.astype(np.float32), np.zeros_like(truth)))


def class_arrays(counts):
    return np.array([count.intersection for count in counts]), np.array([count.union for count in counts])


@pytest.mark.parametrize("seed", SEEDS)
def test_mean_class_iou_agrees_with_scikit_learn_over_a_data_set(seed):
    generator = np.random.default_rng(seed)
    actual, assigned = generator.integers(0, 4, (2, 6, 15, 17))
    counts = [
        count
        for labels, guess in zip(actual, assigned, strict=True)
        for count in argmax_counts(guess, np.stack([labels == index for index in range(4)]))
    ]
    class_index = np.tile(np.arange(4), 6)
    weights = np.repeat([[1, 1, 1, 1, 1, 1], [0, 2, 0, 1, 3, 0]], 4, axis=1)
    expected = [
        sklearn_metrics.jaccard_score(actual.ravel(), assigned.ravel(), average="macro"),
        sklearn_metrics.jaccard_score(
            actual.ravel(),
            assigned.ravel(),
            average="macro",
            sample_weight=np.repeat([0, 2, 0, 1, 3, 0], 15 * 17),
        ),
    ]
    np.testing.assert_allclose(mean_class_iou(*class_arrays(counts), class_index, weights), expected)


def test_mean_class_iou_counts_unassigned_pixels_as_missed_and_leaves_unseen_classes_out():
    assigned = np.array([[0, -1], [1, 1]])
    truths = np.array([[[True, True], [False, False]], [[False, False], [True, True]], [[False] * 2] * 2])
    counts = argmax_counts(assigned, truths)
    assert [count.iou for count in counts[:2]] == [0.5, 1.0]
    assert mean_class_iou(*class_arrays(counts), np.arange(3), np.ones((1, 3))) == 0.75
    assert np.isnan(mean_class_iou(*class_arrays(counts[2:]), np.array([0]), np.ones((1, 1)))).all()


@pytest.mark.parametrize("seed", SEEDS)
def test_area_under_roc_agrees_with_scikit_learn_with_ties_and_weights(seed):
    generator = np.random.default_rng(seed)
    present = generator.random(200) > 0.4
    scores = np.round(generator.normal(present * 0.7, 1.0), 1)
    weights = generator.integers(0, 4, (3, 200)).astype(float)
    expected = [sklearn_metrics.roc_auc_score(present, scores, sample_weight=row) for row in weights]
    np.testing.assert_allclose(area_under_roc(scores, present, weights), expected)
    order = generator.permutation(200)
    np.testing.assert_allclose(area_under_roc(scores[order], present[order], weights[:, order]), expected)


def test_area_under_roc_is_undefined_without_both_sides():
    assert np.isnan(area_under_roc(np.array([0.1, 0.2]), np.array([True, True]), np.ones((1, 2)))).all()
    assert np.isnan(area_under_roc(np.array([]), np.array([], bool), np.ones((1, 0)))).all()


@pytest.mark.parametrize("seed", SEEDS)
def test_weighted_numbers_equal_repeated_values(seed):
    generator = np.random.default_rng(seed)
    values, others = generator.random((2, 30))
    weights = generator.integers(0, 3, (4, 30))
    repeated = [np.repeat(values, row) for row in weights]
    np.testing.assert_allclose(weighted_mean(values, weights), [row.mean() for row in repeated])
    np.testing.assert_allclose(weighted_median(values, weights), [np.median(row) for row in repeated])
    expected = [row.sum() / np.repeat(others, counts).sum() for row, counts in zip(repeated, weights, strict=True)]
    np.testing.assert_allclose(weighted_ratio(values, others, weights), expected)


def test_weighted_numbers_leave_undefined_values_out():
    values = np.array([0.25, np.nan, 0.75])
    assert weighted_mean(values, ones(values)) == 0.5
    assert weighted_median(values, ones(values)) == 0.5
    for statistic in (weighted_mean, weighted_median):
        assert np.isnan(statistic(np.array([np.nan]), np.ones((2, 1)))).all()
        assert np.isnan(statistic(np.array([]), np.ones((2, 0)))).all()
        assert np.isnan(statistic(values, np.zeros((1, 3)))).all()


def test_bootstrap_interval_agrees_with_scipy():
    values = np.random.default_rng(3).beta(2, 3, 150)
    low, high = bootstrap_interval(lambda weights: weighted_mean(values, weights), np.arange(150), num_resamples=4000)
    expected = stats.bootstrap((values,), np.mean, n_resamples=4000, method="percentile", rng=0).confidence_interval
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=0.003)


def test_bootstrap_interval_draws_whole_images():
    values = np.repeat(np.random.default_rng(4).random(40), 25)
    together, apart = np.repeat(np.arange(40), 25), np.arange(1000)
    widths = {}
    for name, unit_index in (("together", together), ("apart", apart)):
        low, high = bootstrap_interval(lambda weights: weighted_mean(values, weights), unit_index)
        widths[name] = high - low
    assert widths["together"] == pytest.approx(5 * widths["apart"], rel=0.15), "25 copies carry no news: sqrt(25) wider"


def test_bootstrap_interval_is_seeded_and_needs_two_images():
    values = np.random.default_rng(5).random(30)

    def interval(seed):
        return bootstrap_interval(lambda weights: weighted_mean(values, weights), np.arange(30), seed=seed)

    assert interval(1) == interval(1) != interval(2)
    one_image = bootstrap_interval(lambda weights: weighted_mean(values, weights), np.zeros(30, int))
    assert np.isnan(one_image).all()


def test_expected_calibration_error_agrees_with_scikit_learn():
    generator = np.random.default_rng(6)
    probabilities = generator.random(2000)
    present = generator.random(2000) < probabilities**2
    came_true, said = calibration_curve(present, probabilities, n_bins=10)
    share = np.histogram(probabilities, 10, (0, 1))[0] / 2000
    expected = (share * np.abs(came_true - said)).sum()
    np.testing.assert_allclose(expected_calibration_error(probabilities, present, ones(present)), expected)
    np.testing.assert_allclose(expected_calibration_error(present.astype(float), present, ones(present)), 0)
    assert np.isnan(expected_calibration_error(np.array([]), np.array([], bool), np.ones((1, 0)))).all()
    weights = generator.integers(0, 3, (1, 2000))
    repeated = np.repeat(probabilities, weights[0]), np.repeat(present, weights[0])
    np.testing.assert_allclose(
        expected_calibration_error(probabilities, present, weights),
        expected_calibration_error(*repeated, ones(repeated[0])),
    )
