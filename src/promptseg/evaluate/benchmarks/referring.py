"""Referring segmentation: find what a phrase refers to in an image, or that it refers to nothing there.

Source:
    PhraseCut: Wu et al. 2020, arXiv:2008.01187; ChenyunWu/PhraseCutDataset utils/evaluator.py.
    RefCOCO: Yu et al. 2016, arXiv:1608.00272; numbers as in yz93/LAVT-RIS test.py.
    gRefCOCO: Liu et al. 2023, arXiv:2306.00968; henghuiding/ReLA gres_model/evaluation/refer_evaluation.py.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import cast

import numpy as np
from numpy.typing import NDArray

from promptseg.data.phrasecut import Split as PhraseCutSplit
from promptseg.data.phrasecut import read_phrasecut
from promptseg.data.phrasecut_episodes import phrasecut_episodes
from promptseg.data.refcoco import Dataset, SplitBy, read_grefcoco, read_refcoco
from promptseg.data.refcoco import Split as RefCocoSplit
from promptseg.data.sample import SampleSet
from promptseg.evaluate.benchmarks.benchmark import BenchmarkSelection, LoadedBenchmark
from promptseg.evaluate.benchmarks.one_shot import episode_examples
from promptseg.evaluate.benchmarks.paper_counts import PAPER_SIZE_HW, define_paper_numbers, score_with_sweep
from promptseg.evaluate.definitions import Bools, MetricDefinition, count_column, define_mean, define_ratio
from promptseg.evaluate.labeled_queries import LabeledQuery, build_labeled_queries
from promptseg.evaluate.records import PairRecord
from promptseg.evaluate.runner import EvaluationExample, ScoreExample
from promptseg.evaluate.scoring import QueryPrediction, score_query, ungated_mask
from promptseg.metrics import PixelCounts, Sweep, count_pixels, mean_pair_iou
from promptseg.metrics.statistics import Floats

PHRASECUT_LEVELS = (0.5, 0.7, 0.9)
REFCOCO_LEVELS = (0.5, 0.6, 0.7, 0.8, 0.9)
GREFCOCO_LEVELS = (0.7, 0.8, 0.9)


def load_phrasecut(selection: BenchmarkSelection) -> LoadedBenchmark:
    """Read PhraseCut; with exemplars, each phrase is shown by another image that has it."""
    samples = read_phrasecut(selection.root, cast(PhraseCutSplit, selection.split))
    score = partial(score_with_sweep, size_hw=PAPER_SIZE_HW)
    if selection.prompt == "text":
        return LoadedBenchmark(
            phrase_examples(samples, score, limit=selection.limit), define_phrasecut, samples.problems
        )
    episodes = phrasecut_episodes(samples)
    examples = episode_examples(episodes, selection, score=score)[: selection.limit]
    return LoadedBenchmark(examples, define_phrasecut, samples.problems + episodes.problems)


def load_refcoco(selection: BenchmarkSelection, *, dataset: Dataset) -> LoadedBenchmark:
    """Read RefCOCO, RefCOCO+ or RefCOCOg; a split is written "unc/val": who split the data, and the part."""
    split_by, _, split = selection.split.partition("/")
    samples = read_refcoco(selection.root, dataset, cast(SplitBy, split_by), cast(RefCocoSplit, split))
    return LoadedBenchmark(
        phrase_examples(samples, score_referring, limit=selection.limit), define_refcoco, samples.problems
    )


def load_grefcoco(selection: BenchmarkSelection) -> LoadedBenchmark:
    """Read gRefCOCO, where a phrase may refer to several objects or to none."""
    samples = read_grefcoco(selection.root, cast(RefCocoSplit, selection.split))
    return LoadedBenchmark(
        phrase_examples(samples, score_referring, limit=selection.limit), define_grefcoco, samples.problems
    )


def phrase_examples(samples: SampleSet, score: ScoreExample, *, limit: int | None) -> tuple[EvaluationExample, ...]:
    """Make an example of every image, with all its phrases."""
    return tuple(
        EvaluationExample(sample.sample_id, sample.image, partial(build_labeled_queries, sample), score)
        for sample in samples.samples[:limit]
    )


def score_referring(queries: Sequence[LabeledQuery], predictions: Sequence[QueryPrediction]) -> list[PairRecord]:
    """Score every prediction by itself; of an absent phrase, too, the ungated mask is counted."""
    return [
        replace(
            score_query(query, prediction),
            counts=count_pixels(ungated_mask(prediction), query.truth, valid=query.valid),
        )
        for query, prediction in zip(queries, predictions, strict=True)
    ]


def define_phrasecut(pairs: Sequence[PairRecord], _: Sequence[str | None]) -> Iterator[MetricDefinition]:
    """List CLIPSeg's numbers, then PhraseCut's own: mean IoU, cumulative IoU, and the share above an IoU."""
    if not pairs:
        return
    everyone = np.arange(len(pairs))
    yield from define_paper_numbers(pairs, everyone, [everyone], mean_iou=_mean_phrase_iou)
    for suffix, counts in _twice(pairs):
        iou = count_column(counts, "iou")
        yield define_mean(f"miou{suffix}", iou, _all(pairs))
        yield _define_cumulative(f"ciou{suffix}", counts)
        for level in PHRASECUT_LEVELS:
            yield define_mean(f"pr@{level}{suffix}", (iou > level).astype(float), _all(pairs))


def define_refcoco(pairs: Sequence[PairRecord], _: Sequence[str | None]) -> Iterator[MetricDefinition]:
    """List overall IoU, mean IoU, the share of expressions that reach an IoU, and mean Dice."""
    for suffix, counts in _twice(pairs):
        iou = count_column(counts, "iou")
        yield _define_cumulative(f"oiou{suffix}", counts)
        yield define_mean(f"miou{suffix}", iou, _all(pairs))
        for level in REFCOCO_LEVELS:
            yield define_mean(f"pr@{level}{suffix}", (iou >= level).astype(float), _all(pairs))
        yield define_mean(f"dice{suffix}", count_column(counts, "dice"), _all(pairs))


def define_grefcoco(pairs: Sequence[PairRecord], _: Sequence[str | None]) -> Iterator[MetricDefinition]:
    """List gIoU, cIoU, accuracy on phrases without (N-acc) and with (T-acc) a target, and Pr@X of the latter.

    An empty mask means "no target". IoU is 1 where that is right. `ciou_paper` is the published code's: where the model
    wrongly predicts "no target", its ungated mask still counts in the union.
    """
    present = np.array([pair.present for pair in pairs], dtype=bool)
    for suffix, counts in _twice(pairs):
        empty = count_column(counts, "predicted") == 0
        iou = np.where(present, count_column(counts, "iou"), empty)
        yield define_mean(f"giou{suffix}", iou, _all(pairs))
        yield _define_cumulative(f"ciou{suffix}", counts)
        if suffix:
            ungated_union = count_column([pair.counts for pair in pairs], "union")
            union = np.where(empty & ~present, 0.0, ungated_union)
            yield define_ratio("ciou_paper", count_column(counts, "intersection"), union, _all(pairs))
        yield define_mean(f"n_acc{suffix}", empty.astype(float), ~present)
        yield define_mean(f"t_acc{suffix}", (~empty).astype(float), present)
        for level in GREFCOCO_LEVELS:
            yield define_mean(f"pr@{level}{suffix}", (iou >= level).astype(float), present)


def _mean_phrase_iou(sweep: Sweep, _: NDArray[np.integer], weights: Floats) -> Floats:
    """Take every phrase for a class of its own, as the published code does."""
    return mean_pair_iou(sweep, weights, added=1)


def _define_cumulative(name: str, counts: Sequence[PixelCounts | None]) -> MetricDefinition:
    return define_ratio(name, count_column(counts, "intersection"), count_column(counts, "union"), _all(counts))


def _all(pairs: Sequence[object]) -> Bools:
    return np.ones(len(pairs), dtype=bool)


def _twice(pairs: Sequence[PairRecord]) -> Iterator[tuple[str, list[PixelCounts | None]]]:
    """Give the counts of the ungated masks, and those of the gated ones."""
    yield "", [pair.counts for pair in pairs]
    yield "_gated", [pair.gated_counts for pair in pairs]
