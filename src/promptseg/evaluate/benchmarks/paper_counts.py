"""CLIPSeg's way of counting and averaging, shared by its benchmarks; the names of its metrics end in `_paper`.

Source:
    Lüddecke and Ecker 2022, arXiv:2112.10003; timojl/clipseg metrics.py, score.py, datasets/ @ 77c4e2d (MIT).
    Differs: a model's map is brought to the size of the count as logits, and then made probabilities; for a map that
    has that size already, as CLIPSeg's has at 352 pixels, that is the same.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from promptseg.data.sample import Mask
from promptseg.evaluate.definitions import MetricDefinition
from promptseg.evaluate.labeled_queries import LabeledQuery
from promptseg.evaluate.records import PairRecord
from promptseg.evaluate.scoring import QueryPrediction, score_query
from promptseg.metrics import (
    SWEEP_THRESHOLDS,
    Sweep,
    binary_iou,
    foreground_iou,
    mean_group_iou,
    simpson_average_precision,
    step_average_precision,
    sweep_counts,
)
from promptseg.metrics.statistics import Floats
from promptseg.ops.resize import resize_map, sigmoid

PAPER_SIZE_HW = (352, 352)
"""Images are stretched to it, and so are their truths: every image weighs the same in a sum of pixels."""

SHOWN_THRESHOLDS = (0.1, 0.2, 0.3, 0.5)
"""Those that the tables of the paper use."""

Curve = Callable[[Floats], Floats]
"""From weights (R, N) to one number a threshold, (R, T)."""

SweepNumber = Callable[[Sweep, NDArray[np.integer], Floats], Floats]
"""From the counts of N pairs, the class of each, (N,), and weights (R, N) to (R, T) or (R,)."""


def score_with_sweep(
    queries: Sequence[LabeledQuery], predictions: Sequence[QueryPrediction], *, size_hw: tuple[int, int] | None
) -> list[PairRecord]:
    """Score every prediction by itself, also at the thresholds of the paper.

    Args:
        queries: Queries with their ground truth.
        predictions: One per query.
        size_hw: Where pixels are counted for the paper's numbers; None: in the image itself.
    """
    return [
        replace(
            score_query(query, prediction),
            sweep=sweep_counts(
                probability_at(prediction, size_hw),
                resize_nearest(query.truth, size_hw),
                valid=resize_nearest(query.valid, size_hw),
            ),
        )
        for query, prediction in zip(queries, predictions, strict=True)
    ]


def probability_at(prediction: QueryPrediction, size_hw: tuple[int, int] | None) -> NDArray[np.float32]:
    """Give the probability of every pixel of the image stretched to a size; None: at its own."""
    return prediction.probability if size_hw is None else sigmoid(resize_map(prediction.mask_logits, size_hw))


def resize_nearest(mask: Mask, size_hw: tuple[int, int] | None) -> Mask:
    """Stretch a mask, bool (H, W), as the published code does: torch's "nearest", the pixel at floor(index x scale)."""
    if size_hw is None:
        return mask
    rows, columns = (_nearest_index(*sizes) for sizes in zip(mask.shape, size_hw, strict=True))
    return mask[rows[:, None], columns]


def _nearest_index(num_old: int, num_new: int) -> NDArray[np.intp]:
    # In float32, as torch computes it: at some sizes float64 gives another pixel.
    scale = np.float32(num_old) / np.float32(num_new)
    position = np.floor(np.arange(num_new, dtype=np.float32) * scale)
    return np.minimum(position.astype(np.intp), num_old - 1)


def over_folds(
    number: SweepNumber, sweep: Sweep, class_index: NDArray[np.integer], folds: Sequence[NDArray[np.intp]]
) -> Curve:
    """Take the mean of a number over folds, whose members are given as indices of pairs."""
    parts = [(sweep.take(fold), class_index[fold], fold) for fold in folds]
    return lambda weights: np.mean([number(part, classes, weights[:, fold]) for part, classes, fold in parts], axis=0)


def mean_class_iou_plus_one(part: Sweep, class_index: NDArray[np.integer], weights: Floats) -> Floats:
    """Mean over the classes of the published IoU that each has when pooled, shape (R, T)."""
    return mean_group_iou(part, class_index, weights, added=1)


def define_paper_numbers(
    pairs: Sequence[PairRecord],
    class_index: NDArray[np.integer],
    folds: Sequence[NDArray[np.intp]],
    *,
    mean_iou: SweepNumber = mean_class_iou_plus_one,
) -> Iterator[MetricDefinition]:
    """List the numbers of the paper's tables, at its thresholds and at the best one.

    Args:
        pairs: All with a sweep.
        class_index: Class of each pair, shape (N,).
        folds: Members of each fold: a number is the mean over the folds.
        mean_iou: What the benchmark calls mIoU.
    """
    sweep = Sweep.stack([pair.sweep for pair in pairs if pair.sweep is not None])
    everyone = np.arange(len(pairs))
    numbers: dict[str, SweepNumber] = {
        "miou_paper": mean_iou,
        "iou_fg_paper": lambda part, _, weights: foreground_iou(part.pool(weights), added=1),
        "iou_bin_paper": lambda part, _, weights: binary_iou(part.pool(weights), added=1),
    }
    for name, number in numbers.items():
        curve = over_folds(number, sweep, class_index, folds)
        for threshold in SHOWN_THRESHOLDS:
            yield MetricDefinition(f"{name}@{threshold}", partial(_at, threshold, curve), everyone)
        yield MetricDefinition(f"{name}@best", partial(_best, curve), everyone)
        yield MetricDefinition(f"{name}@best_threshold", partial(_best_threshold, curve), everyone)
    areas: dict[str, SweepNumber] = {
        "ap_paper": lambda part, _, weights: simpson_average_precision(part.pool(weights)),
        "ap": lambda part, _, weights: step_average_precision(part.pool(weights)),
    }
    for name, area in areas.items():
        yield MetricDefinition(name, over_folds(area, sweep, class_index, folds), everyone)


def _at(threshold: float, curve: Curve, weights: Floats) -> Floats:
    return curve(weights)[:, SWEEP_THRESHOLDS.index(threshold)]


def _best(curve: Curve, weights: Floats) -> Floats:
    return np.asarray(curve(weights).max(axis=1))


def _best_threshold(curve: Curve, weights: Floats) -> Floats:
    return np.asarray(SWEEP_THRESHOLDS)[curve(weights).argmax(axis=1)]
