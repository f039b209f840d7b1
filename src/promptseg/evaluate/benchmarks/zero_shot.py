"""Generalized zero-shot segmentation: every pixel of a Pascal image gets a name, of seen classes and of unseen ones.

Source:
    Bucher et al. 2019, arXiv:1906.00817; numbers as in cvlab-yonsei/JoEm model/metric.py; how CLIPSeg names pixels:
    arXiv:2112.10003, timojl/clipseg models/clipseg.py (CLIPSegMultiLabel) @ 77c4e2d (MIT).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from promptseg.data.pascal import VOC_CLASSES, read_pascal_zeroshot
from promptseg.data.sample import Mask, Sample, target_mask, union_mask
from promptseg.evaluate.benchmarks.benchmark import BenchmarkSelection, LoadedBenchmark
from promptseg.evaluate.benchmarks.paper_counts import PAPER_SIZE_HW, probability_at, resize_nearest
from promptseg.evaluate.definitions import MetricDefinition, count_column, define_ratio
from promptseg.evaluate.labeled_queries import LabeledQuery
from promptseg.evaluate.records import PairRecord
from promptseg.evaluate.runner import EvaluationExample
from promptseg.evaluate.scoring import QueryPrediction, score_queries
from promptseg.language.class_names import VOC_NAMES
from promptseg.metrics import argmax_counts, mean_class_iou
from promptseg.metrics.statistics import Floats, divide
from promptseg.prompts import TextPrompt

Statistic = Callable[[Floats], Floats]

BACKGROUND = "background"

# How much the probability of "background" counts among the others, in CLIPSegMultiLabel.
BACKGROUND_FACTOR = 3.0

# CLIPSeg's code uses the names as VOC spells them ("pottedplant"), except this one.
_RESPELLED = {"aeroplane": "airplane"}


def load_pascal_zeroshot(selection: BenchmarkSelection) -> LoadedBenchmark:
    """Read Pascal VOC with as many unseen classes as the split names: "unseen-4"."""
    data = read_pascal_zeroshot(selection.root, int(selection.split.removeprefix("unseen-")))
    examples = tuple(
        EvaluationExample(
            sample.sample_id,
            sample.image,
            partial(_build_queries, sample),
            score_named_pixels,
        )
        for sample in data.samples.samples[: selection.limit]
    )
    return LoadedBenchmark(examples, partial(define_zero_shot, unseen=frozenset(data.unseen)), data.samples.problems)


def _build_queries(sample: Sample) -> list[LabeledQuery]:
    """Make a query of every class in plain words, then of background and every class in the words of the paper."""
    truths = {target.category: target_mask(target, sample.size_hw) for target in sample.targets if target.masks}
    nothing = np.zeros(sample.size_hw, dtype=bool)
    valid = ~union_mask([rle for target in sample.targets for rle in target.void], sample.size_hw)
    background = ~np.any([*truths.values(), nothing], axis=0)

    def label(name: str, words: str, truth: Mask) -> LabeledQuery:
        return LabeledQuery(name, "thing", truth, valid, "human", TextPrompt(words))

    return [
        *(label(name, words, truths.get(name, nothing)) for name, words in zip(VOC_CLASSES, VOC_NAMES, strict=True)),
        label(BACKGROUND, BACKGROUND, background),
        *(label(name, _RESPELLED.get(name, name), truths.get(name, nothing)) for name in VOC_CLASSES),
    ]


def score_named_pixels(queries: Sequence[LabeledQuery], predictions: Sequence[QueryPrediction]) -> list[PairRecord]:
    """Name every pixel in two ways and count class by class; background is the first class.

    As the paper does, in `argmax_counts`: at 352 x 352 pixels, by the highest probability, that of the word
    "background" counting three times. And in `gated_argmax_counts`: in the image itself, by the highest
    probability among the classes whose mask holds the pixel; a pixel in none is background.

    Args:
        queries: The classes by plain words, then background and the classes by the paper's words.
        predictions: One per query.

    Returns:
        A record of background, then one of each class by plain words.
    """
    plain, paper = slice(len(VOC_CLASSES)), slice(len(VOC_CLASSES), None)
    paper_queries, valid = queries[paper], queries[0].valid
    pairs = score_queries(paper_queries, (predictions[paper][0], *predictions[plain]))
    named = argmax_counts(
        name_as_published([probability_at(prediction, PAPER_SIZE_HW) for prediction in predictions[paper]]),
        np.stack([resize_nearest(query.truth, PAPER_SIZE_HW) for query in paper_queries]),
        valid=resize_nearest(valid, PAPER_SIZE_HW),
    )
    plainly_named = argmax_counts(
        name_by_masks(predictions[plain]), np.stack([query.truth for query in paper_queries]), valid=valid
    )
    return [
        replace(pair, argmax_counts=counts, gated_argmax_counts=plain_counts)
        for pair, counts, plain_counts in zip(pairs, named, plainly_named, strict=True)
    ]


def name_as_published(probabilities: Sequence[NDArray[np.float32]]) -> NDArray[np.intp]:
    """Give every pixel the number of its most probable class; the first one, background, counts three times.

    Args:
        probabilities: One map per class, shape (H, W).

    Returns:
        Shape (H, W), 0 for background.
    """
    stacked = np.stack(probabilities)
    stacked[0] *= BACKGROUND_FACTOR
    return stacked.argmax(axis=0)


def name_by_masks(predictions: Sequence[QueryPrediction]) -> NDArray[np.intp]:
    """Give every pixel the number of the most probable class whose mask holds it, from 1; 0 where none does."""
    claimed = np.stack([np.where(prediction.mask, prediction.probability, -1.0) for prediction in predictions])
    return np.where(claimed.max(axis=0) >= 0, claimed.argmax(axis=0) + 1, 0)


def define_zero_shot(
    pairs: Sequence[PairRecord], _: Sequence[str | None], *, unseen: frozenset[str]
) -> Iterator[MetricDefinition]:
    """List mIoU of seen classes with background, of unseen ones, their harmonic mean, and of all; IoU of each.

    Args:
        pairs: For every image one of each class and of background.
        unseen: The classes that count as unseen.
    """
    num_classes = len(VOC_CLASSES) + 1
    names = np.array([pair.phrase for pair in pairs])
    is_unseen = np.isin(names, sorted(unseen))
    for suffix, counts, fixed in (
        ("_paper", [pair.argmax_counts for pair in pairs], True),
        ("", [pair.gated_argmax_counts for pair in pairs], False),
    ):
        intersection, union = count_column(counts, "intersection"), count_column(counts, "union")
        groups = {
            "miou_seen": (~is_unseen, num_classes - len(unseen)),
            "miou_unseen": (is_unseen, len(unseen)),
            "miou": (np.ones(len(pairs), dtype=bool), num_classes),
        }
        statistics: dict[str, Statistic] = {}
        for name, (members, size) in groups.items():
            at = np.flatnonzero(members)
            index = np.unique(names[at], return_inverse=True)[1]
            statistics[name] = partial(
                _group_iou, at, (intersection[at], union[at], index), num_classes=size if fixed else None
            )
            yield MetricDefinition(f"{name}{suffix}", statistics[name], np.arange(len(pairs)))
        harmonic = partial(_harmonic_mean, statistics["miou_seen"], statistics["miou_unseen"])
        yield MetricDefinition(f"hiou{suffix}", harmonic, np.arange(len(pairs)))
        for name in np.unique(names):
            yield define_ratio(f"iou{suffix}/name/{name}", intersection, union, names == name)


def _group_iou(
    at: NDArray[np.intp],
    counts: tuple[Floats, Floats, NDArray[np.intp]],
    weights: Floats,
    *,
    num_classes: int | None,
) -> Floats:
    return mean_class_iou(*counts, weights[:, at], num_classes=num_classes)


def _harmonic_mean(first: Statistic, second: Statistic, weights: Floats) -> Floats:
    a, b = first(weights), second(weights)
    return divide(2 * a * b, a + b)
