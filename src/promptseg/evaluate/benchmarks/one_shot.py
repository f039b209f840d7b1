"""One-shot segmentation: an image with a mask shows the class, which is to be found in another image.

Source:
    Pascal-5i: Shaban et al. 2017, arXiv:1709.03410. COCO-20i: Nguyen and Todorovic 2019, arXiv:1909.13140.
    Plain numbers as in juhongm999/hsnet common/evaluation.py and logger.py; the paper's: see `paper_counts`.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from promptseg.data.episodes import Episode, EpisodeSet, Exemplar
from promptseg.data.fewshot import read_coco_20i, read_pascal_5i
from promptseg.evaluate.benchmarks.benchmark import BenchmarkSelection, LoadedBenchmark
from promptseg.evaluate.benchmarks.paper_counts import (
    PAPER_SIZE_HW,
    Curve,
    SweepNumber,
    define_paper_numbers,
    over_folds,
    score_with_sweep,
)
from promptseg.evaluate.definitions import MetricDefinition, count_column
from promptseg.evaluate.labeled_queries import LabeledQuery, build_labeled_queries
from promptseg.evaluate.records import PairRecord
from promptseg.evaluate.runner import EvaluationExample, ScoreExample
from promptseg.images import read_image
from promptseg.metrics import Sweep, binary_iou, mean_group_iou
from promptseg.metrics.statistics import Floats
from promptseg.ops.rle import decode_rle
from promptseg.prompts import ExemplarPrompt, TextPrompt

NUM_EPISODES = 1000
"""Number of episodes of each fold, the usual one."""


def load_pascal_5i(selection: BenchmarkSelection) -> LoadedBenchmark:
    """Read Pascal-5i; pixels are counted in the image itself, without the unlabeled borders."""
    num_episodes = selection.limit or NUM_EPISODES
    folds = [read_pascal_5i(selection.root, fold, num_episodes=num_episodes) for fold in selection.folds]
    return _load(folds, selection, partial(score_with_sweep, size_hw=None), wording="a photo of a {}.")


def load_coco_20i(selection: BenchmarkSelection) -> LoadedBenchmark:
    """Read COCO-20i."""
    num_episodes = selection.limit or NUM_EPISODES
    folds = [read_coco_20i(selection.root, fold, num_episodes=num_episodes) for fold in selection.folds]
    return _load(folds, selection, partial(score_with_sweep, size_hw=PAPER_SIZE_HW), wording="{}")


def _load(
    folds: Sequence[EpisodeSet], selection: BenchmarkSelection, score: ScoreExample, *, wording: str
) -> LoadedBenchmark:
    examples: list[EvaluationExample] = []
    fold_of: dict[str, int] = {}
    for fold, episodes in zip(selection.folds, folds, strict=True):
        prefix = f"fold{fold}/"
        examples += episode_examples(episodes, selection, score=score, wording=wording, prefix=prefix)
        fold_of |= dict.fromkeys(episodes.class_names.values(), fold)
    problems = tuple(problem for episodes in folds for problem in episodes.problems)
    return LoadedBenchmark(tuple(examples), partial(define_one_shot, fold_of=fold_of), problems)


def episode_examples(
    episodes: EpisodeSet, selection: BenchmarkSelection, *, score: ScoreExample, wording: str = "{}", prefix: str = ""
) -> tuple[EvaluationExample, ...]:
    """Make one example of every query image: all its episodes, so that the image is encoded once.

    Args:
        episodes: Pairs of a query image and a support image.
        selection: The kind of prompt.
        score: Compares predictions with the ground truth.
        wording: Text prompt of a class; {} stands for its name.
        prefix: Put before the ids of the examples.
    """
    by_image: dict[str, list[Episode]] = defaultdict(list)
    for episode in episodes:
        by_image[episode.query.sample_id].append(episode)
    return tuple(
        EvaluationExample(
            sample_id=f"{prefix}{sample_id}",
            image=of_image[0].query.image,
            load_queries=partial(_build_queries, of_image, wording=wording if selection.prompt == "text" else None),
            score=score,
        )
        for sample_id, of_image in by_image.items()
    )


def _build_queries(episodes: Sequence[Episode], *, wording: str | None) -> list[LabeledQuery]:
    """Make a query of every episode: its exemplar, or its class's name where there is a wording."""
    queries = []
    for episode in episodes:
        for query, target in zip(build_labeled_queries(episode.query), episode.query.targets, strict=False):
            label = target.category if episode.class_id >= 0 else target.phrase
            prompt = exemplar_prompt(episode.support[0]) if wording is None else TextPrompt(wording.format(label))
            queries.append(replace(query, phrase=label, prompt=prompt))
    return queries


def exemplar_prompt(exemplar: Exemplar) -> ExemplarPrompt:
    """Read the image that shows the class.

    Raises:
        ImageError: It can't be read.
        PromptError: Its mask is of another size.
    """
    return ExemplarPrompt(read_image(exemplar.image), decode_rle(exemplar.mask))


def define_one_shot(
    pairs: Sequence[PairRecord], _: Sequence[str | None], *, fold_of: Mapping[str, int]
) -> Iterator[MetricDefinition]:
    """List CLIPSeg's numbers, then HSNet's: mIoU over classes and FB-IoU; of each fold, and their mean over the folds.

    Args:
        pairs: One per episode; the phrase is the class.
        fold_of: Fold of every class.
    """
    if not pairs:
        return
    class_index = np.unique([pair.phrase for pair in pairs], return_inverse=True)[1]
    fold_index = np.array([fold_of[pair.phrase] for pair in pairs])
    folds = {int(fold): np.flatnonzero(fold_index == fold) for fold in np.unique(fold_index)}
    yield from define_paper_numbers(pairs, class_index, list(folds.values()))
    for suffix, counts in (("", [pair.counts for pair in pairs]), ("_gated", [pair.gated_counts for pair in pairs])):
        # A sweep of one threshold: the model's own.
        single = Sweep(
            intersection=count_column(counts, "intersection")[:, None],
            predicted=count_column(counts, "predicted")[:, None],
            actual=count_column(counts, "actual"),
            valid=count_column(counts, "valid"),
        )
        for name, number in _HSNET_NUMBERS.items():
            curve = over_folds(number, single, class_index, list(folds.values()))
            yield MetricDefinition(f"{name}{suffix}", partial(_only_column, curve), np.arange(len(pairs)))
            for fold, members in folds.items():
                curve = over_folds(number, single.take(members), class_index[members], [np.arange(len(members))])
                yield MetricDefinition(f"{name}{suffix}/fold{fold}", partial(_only_column, curve), members)


_HSNET_NUMBERS: dict[str, SweepNumber] = {
    "miou": mean_group_iou,
    "fb_iou": lambda part, _, weights: binary_iou(part.pool(weights)),
}


def _only_column(curve: Curve, weights: Floats) -> Floats:
    return curve(weights)[:, 0]
