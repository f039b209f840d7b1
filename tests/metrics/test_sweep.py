"""Counts over thresholds against a slow version of CLIPSeg's published scoring, against scikit-learn and scipy."""

import numpy as np
import pytest
from published_scores import PublishedScores, old_simps
from sklearn import metrics as sklearn_metrics

from promptseg.metrics import (
    SWEEP_THRESHOLDS,
    Sweep,
    binary_iou,
    foreground_iou,
    mean_class_iou,
    mean_group_iou,
    mean_pair_iou,
    simpson_average_precision,
    step_average_precision,
    sweep_counts,
)

SEEDS = range(4)


def random_pairs(seed, count=9, size_hw=(13, 17)):
    """Noisy answers; every third probability lies exactly on a threshold."""
    generator = np.random.default_rng(seed)
    for index in range(count):
        truth = generator.random(size_hw) > 0.6
        probability = np.clip(generator.normal(0.35 + 0.3 * truth, 0.2), 0, 1).astype(np.float32)
        probability[::3] = np.round(probability[::3] * 50) / 50
        yield probability, truth, generator.random(size_hw) > 0.1, index % 4


def stacked(pairs):
    return Sweep.stack([sweep_counts(probability, truth, valid=valid) for probability, truth, valid, _ in pairs])


@pytest.mark.parametrize("seed", SEEDS)
def test_numbers_of_the_sweep_are_those_of_the_published_code(seed):
    pairs = list(random_pairs(seed))
    published = PublishedScores()
    for pair in pairs:
        published.add(*pair)
    expected = published.scores()
    sweep, ones = stacked(pairs), np.ones((1, len(pairs)))
    pooled = sweep.pool(ones)
    np.testing.assert_array_equal(SWEEP_THRESHOLDS, published.thresholds)
    np.testing.assert_allclose(foreground_iou(pooled, added=1)[0], expected["fgiou"], rtol=1e-12)
    np.testing.assert_allclose(binary_iou(pooled, added=1)[0], expected["biniou"], rtol=1e-12)
    classes = np.array([class_id for *_, class_id in pairs])
    np.testing.assert_allclose(mean_group_iou(sweep, classes, ones, added=1)[0], expected["miou"], rtol=1e-12)
    assert simpson_average_precision(pooled)[0] == pytest.approx(expected["ap"], rel=1e-9)
    published.classes = list(range(len(pairs)))
    np.testing.assert_allclose(mean_pair_iou(sweep, ones, added=1)[0], published.scores()["miou"], rtol=1e-12)


@pytest.mark.parametrize("num_thresholds", [2, 3, 4, 7, 8])
def test_simpson_takes_odd_and_even_numbers_of_points(num_thresholds):
    truth = np.array([[1, 1, 1, 0, 1, 0, 0, 1, 0, 0]], bool)
    probability = np.linspace(1, 0.05, 10, dtype=np.float32)[None]
    thresholds = np.linspace(0.1, 0.9, num_thresholds)
    counts = Sweep.stack([sweep_counts(probability, truth, thresholds=thresholds)]).pool(np.ones((1, 1)))
    above = probability > thresholds[:, None].astype(np.float32)
    hits, predicted = (above & truth).sum(axis=1), above.sum(axis=1)
    points = {(hit / (1 + 5), hit / (1 + all_)) for hit, all_ in zip(hits, predicted, strict=True)}
    recall, precision = np.array(sorted(points, key=lambda point: point[0])).T
    assert simpson_average_precision(counts)[0] == pytest.approx(old_simps(precision, recall))


def test_average_precision_is_undefined_where_nothing_is_predicted():
    silent = Sweep.stack([sweep_counts(np.zeros((4, 4), np.float32), np.eye(4, dtype=bool))])
    assert np.isnan(simpson_average_precision(silent.pool(np.ones((2, 1))))).all()
    nothing = Sweep.stack([sweep_counts(np.full((4, 4), 0.9, np.float32), np.zeros((4, 4), bool))])
    assert np.isnan(step_average_precision(nothing.pool(np.ones((1, 1))))).all()


@pytest.mark.parametrize("seed", SEEDS)
def test_plain_numbers_agree_with_scikit_learn_on_the_pooled_pixels(seed):
    pairs = list(random_pairs(seed))
    truth = np.concatenate([truth[valid] for _, truth, valid, _ in pairs])
    probability = np.concatenate([probability[valid] for probability, _, valid, _ in pairs])
    pooled = stacked(pairs).pool(np.ones((1, len(pairs))))
    for column in (4, 24, 40):
        mask = probability > np.float32(SWEEP_THRESHOLDS[column])
        expected = sklearn_metrics.jaccard_score(truth, mask, average=None)
        assert foreground_iou(pooled)[0, column] == pytest.approx(expected[1])
        assert binary_iou(pooled)[0, column] == pytest.approx(expected.mean())
    ranks = (probability[:, None] > np.float32(SWEEP_THRESHOLDS)).sum(axis=1)
    expected = sklearn_metrics.average_precision_score(truth, ranks)
    assert step_average_precision(pooled)[0] == pytest.approx(expected)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_weight_is_a_repetition(seed):
    pairs = list(random_pairs(seed))
    weights = np.random.default_rng(seed).integers(0, 3, len(pairs))
    repeated = [pair for pair, times in zip(pairs, weights, strict=True) for _ in range(times)]
    sweep, again, ones = stacked(pairs), stacked(repeated), np.ones((1, len(repeated)))
    row = weights[None].astype(float)
    for function in (foreground_iou, binary_iou, simpson_average_precision, step_average_precision):
        np.testing.assert_allclose(function(sweep.pool(row)), function(again.pool(ones)))
    classes = np.arange(len(pairs)) % 4
    np.testing.assert_allclose(
        mean_group_iou(sweep, classes, row, added=1),
        mean_group_iou(again, np.repeat(classes, weights), ones, added=1),
    )


def test_a_group_that_has_no_weight_is_left_out():
    pairs = list(random_pairs(0, count=4))
    sweep, classes = stacked(pairs), np.arange(4)
    only_first = mean_group_iou(sweep, classes, np.array([[1.0, 0, 0, 0]]))
    np.testing.assert_allclose(only_first, foreground_iou(sweep.take(np.array([0])).pool(np.ones((1, 1)))))
    assert np.isnan(mean_group_iou(sweep, classes, np.zeros((1, 4)))).all()


def test_a_pixel_on_the_threshold_does_not_exceed_it():
    counts = sweep_counts(np.full((1, 1), 0.3, np.float32), np.ones((1, 1), bool))
    assert sum(counts.predicted) == SWEEP_THRESHOLDS.index(0.3)


def test_sweep_refuses_another_size():
    with pytest.raises(ValueError, match=r"probability is \(2, 3\), truth is \(3, 2\)"):
        sweep_counts(np.zeros((2, 3), np.float32), np.zeros((3, 2), bool))


def test_classes_without_a_pixel_count_as_zero_where_the_number_of_classes_is_given():
    numbers = np.array([4.0, 6.0]), np.array([8.0, 8.0]), np.array([0, 2]), np.ones((1, 2))
    assert mean_class_iou(*numbers) == pytest.approx((0.5 + 0.75) / 2)
    assert mean_class_iou(*numbers, num_classes=4) == pytest.approx((0.5 + 0.75) / 4)
