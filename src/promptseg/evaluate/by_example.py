"""The questions of a data set asked with examples: another image of the set shows what is meant.

A name that no other image shows is not asked. In videos the example is another frame.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from promptseg.data.sample import Sample, instance_areas, union_mask
from promptseg.evaluate.questions import Question, build_questions
from promptseg.evaluate.runner import Sheet, judge_pairs
from promptseg.images import read_image
from promptseg.prompts import ExemplarPrompt

MIN_AREA_SHARE = 0.005  # of its image; what is smaller shows nothing


def example_sheets(samples: Sequence[Sample], *, seed: int = 0) -> Iterator[Sheet]:
    """Make a sheet of every image, its phrases replaced by examples that are drawn once and for all.

    Args:
        samples: Images of one set.
        seed: Of the draw.
    """
    showing: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        height, width = sample.size_hw
        for target in sample.with_evidence("mask"):
            if max(instance_areas(target)) >= MIN_AREA_SHARE * height * width:
                showing[target.phrase].append(sample)
    for sample in samples:
        questions = partial(_build_questions, sample, showing, seed=seed)
        yield Sheet(sample.sample_id, sample.image, questions, judge_pairs, sample.sequence)


def _build_questions(sample: Sample, showing: Mapping[str, Sequence[Sample]], *, seed: int) -> list[Question]:
    # A generator of its own for each image: leaving one out does not change what is asked of the others.
    rng = np.random.default_rng([seed, *sample.sample_id.encode()])
    questions = []
    for question in build_questions(sample):
        others = [other for other in showing.get(question.phrase, ()) if other.sample_id != sample.sample_id]
        if others:
            shown = others[int(rng.integers(len(others)))]
            questions.append(replace(question, prompt=_show(question.phrase, shown)))
    return questions


def _show(phrase: str, sample: Sample) -> ExemplarPrompt:
    # Referring sentences may stand for two objects of an image, in two targets.
    rles = [rle for target in sample.targets if target.phrase == phrase for rle in target.masks]
    return ExemplarPrompt(read_image(sample.image), mask=union_mask(rles, sample.size_hw))
