"""Referring segmentation: a phrase, and where it holds in the image, or that it holds nowhere.

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
from promptseg.data.phrasecut_plus import phrasecut_episodes
from promptseg.data.refcoco import Dataset, SplitBy, read_grefcoco, read_refcoco
from promptseg.data.refcoco import Split as RefCocoSplit
from promptseg.data.sample import SampleSet
from promptseg.evaluate.benchmarks.exam import Choice, Exam
from promptseg.evaluate.benchmarks.one_shot import episode_sheets
from promptseg.evaluate.benchmarks.paper_counts import PAPER_SIZE_HW, define_paper_numbers, judge_swept
from promptseg.evaluate.definitions import Bools, Definition, count_column, define_mean, define_ratio
from promptseg.evaluate.questions import Question, build_questions
from promptseg.evaluate.records import PairRecord
from promptseg.evaluate.runner import Answer, Judge, Sheet, judge_pair, ungated_mask
from promptseg.metrics import PixelCounts, Sweep, count_pixels, mean_pair_iou
from promptseg.metrics.statistics import Floats

PHRASECUT_LEVELS = (0.5, 0.7, 0.9)
REFCOCO_LEVELS = (0.5, 0.6, 0.7, 0.8, 0.9)
GREFCOCO_LEVELS = (0.7, 0.8, 0.9)


def load_phrasecut(choice: Choice) -> Exam:
    """Read PhraseCut; with exemplars, each phrase that another image shares is shown there instead of said."""
    samples = read_phrasecut(choice.root, cast(PhraseCutSplit, choice.split))
    judge = partial(judge_swept, size_hw=PAPER_SIZE_HW)
    if choice.prompt == "text":
        return Exam(phrase_sheets(samples, judge, limit=choice.limit), define_phrasecut, samples.problems)
    episodes = phrasecut_episodes(samples)
    sheets = episode_sheets(episodes, choice, judge=judge)[: choice.limit]
    return Exam(sheets, define_phrasecut, samples.problems + episodes.problems)


def load_refcoco(choice: Choice, *, dataset: Dataset) -> Exam:
    """Read RefCOCO, RefCOCO+ or RefCOCOg; the split is written "unc/val": who divided the data, and which part."""
    split_by, _, split = choice.split.partition("/")
    samples = read_refcoco(choice.root, dataset, cast(SplitBy, split_by), cast(RefCocoSplit, split))
    return Exam(phrase_sheets(samples, judge_referring, limit=choice.limit), define_refcoco, samples.problems)


def load_grefcoco(choice: Choice) -> Exam:
    """Read gRefCOCO, where a phrase may mean several things or nothing."""
    samples = read_grefcoco(choice.root, cast(RefCocoSplit, choice.split))
    return Exam(phrase_sheets(samples, judge_referring, limit=choice.limit), define_grefcoco, samples.problems)


def phrase_sheets(samples: SampleSet, judge: Judge, *, limit: int | None) -> tuple[Sheet, ...]:
    """Ask every phrase of every image."""
    return tuple(
        Sheet(sample.sample_id, sample.image, partial(build_questions, sample), judge)
        for sample in samples.samples[:limit]
    )


def judge_referring(questions: Sequence[Question], answers: Sequence[Answer]) -> list[PairRecord]:
    """Judge every answer by itself; of a phrase that means nothing here, too, what is painted counts."""
    return [
        replace(
            judge_pair(question, answer),
            counts=count_pixels(ungated_mask(answer), question.truth, valid=question.valid),
        )
        for question, answer in zip(questions, answers, strict=True)
    ]


def define_phrasecut(pairs: Sequence[PairRecord], _: Sequence[str | None]) -> Iterator[Definition]:
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


def define_refcoco(pairs: Sequence[PairRecord], _: Sequence[str | None]) -> Iterator[Definition]:
    """List overall IoU, mean IoU, the share of expressions that reach an IoU, and mean Dice."""
    for suffix, counts in _twice(pairs):
        iou = count_column(counts, "iou")
        yield _define_cumulative(f"oiou{suffix}", counts)
        yield define_mean(f"miou{suffix}", iou, _all(pairs))
        for level in REFCOCO_LEVELS:
            yield define_mean(f"pr@{level}{suffix}", (iou >= level).astype(float), _all(pairs))
        yield define_mean(f"dice{suffix}", count_column(counts, "dice"), _all(pairs))


def define_grefcoco(pairs: Sequence[PairRecord], _: Sequence[str | None]) -> Iterator[Definition]:
    """List gIoU, cIoU, accuracy on phrases without (N-acc) and with (T-acc) a target, and Pr@X of the latter.

    An answer says "no target" by an empty mask. IoU is 1 where it says so rightly. `ciou_paper` is the published
    code's: where the model wrongly says "no target", what it would have painted still counts in the union.
    """
    present = np.array([pair.present for pair in pairs], dtype=bool)
    for suffix, counts in _twice(pairs):
        silent = count_column(counts, "predicted") == 0
        iou = np.where(present, count_column(counts, "iou"), silent)
        yield define_mean(f"giou{suffix}", iou, _all(pairs))
        yield _define_cumulative(f"ciou{suffix}", counts)
        if suffix:
            painted = count_column([pair.counts for pair in pairs], "union")
            union = np.where(silent & ~present, 0.0, painted)
            yield define_ratio("ciou_paper", count_column(counts, "intersection"), union, _all(pairs))
        yield define_mean(f"n_acc{suffix}", silent.astype(float), ~present)
        yield define_mean(f"t_acc{suffix}", (~silent).astype(float), present)
        for level in GREFCOCO_LEVELS:
            yield define_mean(f"pr@{level}{suffix}", (iou >= level).astype(float), present)


def _mean_phrase_iou(sweep: Sweep, _: NDArray[np.integer], weights: Floats) -> Floats:
    """Take every phrase for a class of its own, as the published code does."""
    return mean_pair_iou(sweep, weights, added=1)


def _define_cumulative(name: str, counts: Sequence[PixelCounts | None]) -> Definition:
    return define_ratio(name, count_column(counts, "intersection"), count_column(counts, "union"), _all(counts))


def _all(pairs: Sequence[object]) -> Bools:
    return np.ones(len(pairs), dtype=bool)


def _twice(pairs: Sequence[PairRecord]) -> Iterator[tuple[str, list[PixelCounts | None]]]:
    """The counts of every pair whatever the presence, and those of the mask that the model gives."""
    yield "", [pair.counts for pair in pairs]
    yield "_gated", [pair.gated_counts for pair in pairs]
