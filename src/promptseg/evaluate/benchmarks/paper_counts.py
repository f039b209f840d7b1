"""CLIPSeg's own way of counting and summing up, shared by its benchmarks; the names of its numbers end in `_paper`.

Source:
    Lüddecke and Ecker 2022, arXiv:2112.10003; timojl/clipseg metrics.py, score.py, datasets/ @ 77c4e2d (MIT).
    Differs: a model's map is brought to the size of the count as logits, and then made probabilities; for a map that
    has that size already, as CLIPSeg's has at 352 pixels, that is the same.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import interpolate

from promptseg.data.sample import Mask
from promptseg.evaluate.definitions import Definition
from promptseg.evaluate.questions import Question
from promptseg.evaluate.records import PairRecord
from promptseg.evaluate.runner import Answer, judge_pair
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


def judge_swept(
    questions: Sequence[Question], answers: Sequence[Answer], *, size_hw: tuple[int, int] | None
) -> list[PairRecord]:
    """Judge every answer by itself, also at the thresholds of the paper.

    Args:
        questions: What was asked.
        answers: What the model said.
        size_hw: Where pixels are counted for the paper's numbers; None: in the image itself.
    """
    return [
        replace(
            judge_pair(question, answer),
            sweep=sweep_counts(
                probability_at(answer, size_hw),
                resize_nearest(question.truth, size_hw),
                valid=resize_nearest(question.valid, size_hw),
            ),
        )
        for question, answer in zip(questions, answers, strict=True)
    ]


def probability_at(answer: Answer, size_hw: tuple[int, int] | None) -> NDArray[np.float32]:
    """Give the probability of every pixel of the image stretched to a size; None: at its own."""
    return answer.probability if size_hw is None else sigmoid(resize_map(answer.mask_logits, size_hw))


def resize_nearest(mask: Mask, size_hw: tuple[int, int] | None) -> Mask:
    """Stretch a mask as the published code does: for each pixel the one at floor(index x scale)."""
    if size_hw is None:
        return mask
    resized = interpolate(torch.from_numpy(mask.astype(np.uint8))[None, None], size_hw, mode="nearest")
    return np.asarray(resized[0, 0].numpy(), dtype=bool)


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
) -> Iterator[Definition]:
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
            yield Definition(f"{name}@{threshold}", partial(_at, threshold, curve), everyone)
        yield Definition(f"{name}@best", partial(_best, curve), everyone)
        yield Definition(f"{name}@best_threshold", partial(_best_threshold, curve), everyone)
    areas: dict[str, SweepNumber] = {
        "ap_paper": lambda part, _, weights: simpson_average_precision(part.pool(weights)),
        "ap": lambda part, _, weights: step_average_precision(part.pool(weights)),
    }
    for name, area in areas.items():
        yield Definition(name, over_folds(area, sweep, class_index, folds), everyone)


def _at(threshold: float, curve: Curve, weights: Floats) -> Floats:
    return curve(weights)[:, SWEEP_THRESHOLDS.index(threshold)]


def _best(curve: Curve, weights: Floats) -> Floats:
    return np.asarray(curve(weights).max(axis=1))


def _best_threshold(curve: Curve, weights: Floats) -> Floats:
    return np.asarray(SWEEP_THRESHOLDS)[curve(weights).argmax(axis=1)]
