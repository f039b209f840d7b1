"""One-shot segmentation: an image with a mask says what is meant, and it is to be found in another image.

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
from promptseg.evaluate.benchmarks.exam import Choice, Exam
from promptseg.evaluate.benchmarks.paper_counts import (
    PAPER_SIZE_HW,
    Curve,
    SweepNumber,
    define_paper_numbers,
    judge_swept,
    over_folds,
)
from promptseg.evaluate.definitions import Definition, count_column
from promptseg.evaluate.questions import Question, build_questions
from promptseg.evaluate.records import PairRecord
from promptseg.evaluate.runner import Judge, Sheet
from promptseg.images import read_image
from promptseg.metrics import Sweep, binary_iou, mean_group_iou
from promptseg.metrics.statistics import Floats
from promptseg.ops.rle import decode_rle
from promptseg.prompts import ExemplarPrompt, TextPrompt

NUM_EPISODES = 1000
"""Of each fold, as everybody takes them."""


def load_pascal_5i(choice: Choice) -> Exam:
    """Read Pascal-5i; its pixels are counted in the image itself, without the borders that are nobody's."""
    num_episodes = choice.limit or NUM_EPISODES
    folds = [read_pascal_5i(choice.root, fold, num_episodes=num_episodes) for fold in choice.folds]
    return _exam(folds, choice, partial(judge_swept, size_hw=None), wording="a photo of a {}.")


def load_coco_20i(choice: Choice) -> Exam:
    """Read COCO-20i."""
    num_episodes = choice.limit or NUM_EPISODES
    folds = [read_coco_20i(choice.root, fold, num_episodes=num_episodes) for fold in choice.folds]
    return _exam(folds, choice, partial(judge_swept, size_hw=PAPER_SIZE_HW), wording="{}")


def _exam(folds: Sequence[EpisodeSet], choice: Choice, judge: Judge, *, wording: str) -> Exam:
    sheets: list[Sheet] = []
    fold_of: dict[str, int] = {}
    for fold, episodes in zip(choice.folds, folds, strict=True):
        prefix = f"fold{fold}/"
        sheets += episode_sheets(episodes, choice, judge=judge, wording=wording, prefix=prefix)
        fold_of |= dict.fromkeys(episodes.class_names.values(), fold)
    problems = tuple(problem for episodes in folds for problem in episodes.problems)
    return Exam(tuple(sheets), partial(define_one_shot, fold_of=fold_of), problems)


def episode_sheets(
    episodes: EpisodeSet, choice: Choice, *, judge: Judge, wording: str = "{}", prefix: str = ""
) -> tuple[Sheet, ...]:
    """Make a sheet of every image that is asked anything: all its episodes, so that it is encoded once.

    Args:
        episodes: What to ask.
        choice: Whether to show or to say it.
        judge: Compares answers with the truth.
        wording: How the class is said, where it is said.
        prefix: Of the sheets' ids.
    """
    by_image: dict[str, list[Episode]] = defaultdict(list)
    for episode in episodes:
        by_image[episode.query.sample_id].append(episode)
    return tuple(
        Sheet(
            sample_id=f"{prefix}{sample_id}",
            image=asked[0].query.image,
            questions=partial(_build_questions, asked, wording=wording if choice.prompt == "text" else None),
            judge=judge,
        )
        for sample_id, asked in by_image.items()
    )


def _build_questions(episodes: Sequence[Episode], *, wording: str | None) -> list[Question]:
    """Ask every episode with its exemplar, or by its class's name where there is a wording."""
    questions = []
    for episode in episodes:
        for question, target in zip(build_questions(episode.query), episode.query.targets, strict=False):
            label = target.category if episode.class_id >= 0 else target.phrase
            prompt = exemplar_prompt(episode.support[0]) if wording is None else TextPrompt(wording.format(label))
            questions.append(replace(question, phrase=label, prompt=prompt))
    return questions


def exemplar_prompt(exemplar: Exemplar) -> ExemplarPrompt:
    """Read the image that shows what is meant.

    Raises:
        ImageError: It can't be read.
        PromptError: Its mask is of another size.
    """
    return ExemplarPrompt(read_image(exemplar.image), decode_rle(exemplar.mask))


def define_one_shot(
    pairs: Sequence[PairRecord], _: Sequence[str | None], *, fold_of: Mapping[str, int]
) -> Iterator[Definition]:
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
            yield Definition(f"{name}{suffix}", partial(_only_column, curve), np.arange(len(pairs)))
            for fold, members in folds.items():
                curve = over_folds(number, single.take(members), class_index[members], [np.arange(len(members))])
                yield Definition(f"{name}{suffix}/fold{fold}", partial(_only_column, curve), members)


_HSNET_NUMBERS: dict[str, SweepNumber] = {
    "miou": mean_group_iou,
    "fb_iou": lambda part, _, weights: binary_iou(part.pool(weights)),
}


def _only_column(curve: Curve, weights: Floats) -> Floats:
    return curve(weights)[:, 0]
