"""Sets asked with examples: which image shows what, what can't be asked, and that answers are judged as ever."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from evaluate_world import COLORS, ColorSegmenter, block, paint

import promptseg
from promptseg.data.sample import Sample, Target
from promptseg.evaluate.by_example import example_sheets
from promptseg.evaluate.runner import evaluate_sheets
from promptseg.images import read_image
from promptseg.ops.rle import encode_rle
from promptseg.prompts import ExemplarPrompt, Query
from promptseg.results import QueryResult


class ColorMatcher(ColorSegmenter):
    """Finds what has the commonest color of the example's region."""

    def segment(self, embedding: np.ndarray, queries: Sequence[Query]) -> list[QueryResult]:
        names = {color: name for name, color in COLORS.items()}
        asked = []
        for query in queries:
            (prompt,) = query.prompts
            assert isinstance(prompt, ExemplarPrompt)
            colors, counts = np.unique(prompt.image_rgb[prompt.foreground], axis=0, return_counts=True)
            asked.append(names[tuple(map(int, colors[counts.argmax()]))])
        return super().segment(embedding, asked)


@pytest.fixture
def samples(tmp_path: Path) -> list[Sample]:
    areas = {"red": block(0, 0, 5, 5), "blue": block(6, 6, 9, 9)}
    made = []
    for number, names in enumerate([("red", "blue"), ("red",), ("red", "blue"), ("green",)]):
        shown = {name: np.roll(areas.get(name, block(0, 0, 9, 9)), number, axis=1) for name in names}
        targets = tuple(Target(name, masks=(encode_rle(mask),)) for name, mask in shown.items())
        made.append(Sample(f"{number}.png", paint(tmp_path / f"{number}.png", shown), (10, 10), targets))
    made[1] = replace(made[1], absent=("blue", "green", "unheard of"))
    return made


def test_another_image_shows_what_is_meant(samples: list[Sample]) -> None:
    images = {sample.sample_id: read_image(sample.image) for sample in samples}
    asked = {sheet.sample_id: list(sheet.questions()) for sheet in example_sheets(samples)}
    # nobody else shows green, and nobody at all what is unheard of
    assert [question.phrase for question in asked["0.png"]] == ["red", "blue"]
    assert [question.phrase for question in asked["1.png"]] == ["red", "blue", "green"]
    assert asked["3.png"] == []
    for sample_id, questions in asked.items():
        for question in questions:
            assert isinstance(question.prompt, ExemplarPrompt)
            assert not np.array_equal(question.prompt.image_rgb, images[sample_id])
            shown = question.prompt.image_rgb[question.prompt.foreground]
            assert (shown == COLORS[question.phrase]).all()


def test_the_draw_does_not_depend_on_who_else_is_asked(samples: list[Sample]) -> None:
    def drawn(sheets):
        return {sheet.sample_id: [q.prompt.image_rgb.tobytes() for q in sheet.questions()] for sheet in sheets}

    everybody = drawn(example_sheets(samples, seed=3))
    assert drawn(example_sheets(samples[::-1], seed=3)).keys() == everybody.keys()
    assert drawn(example_sheets(samples, seed=3)) == everybody


def test_answers_are_judged_as_those_to_phrases(samples: list[Sample]) -> None:
    records = list(evaluate_sheets(ColorMatcher(), example_sheets(samples)))
    pairs = [pair for record in records for pair in record.pairs]
    assert [record.error for record in records] == [None] * 4
    assert [(pair.phrase, pair.present) for pair in records[1].pairs] == [
        ("red", True), ("blue", False), ("green", False),
    ]  # fmt: skip
    assert all(pair.counts.intersection == pair.counts.union for pair in pairs if pair.counts is not None)


def test_a_model_that_takes_no_examples_says_so(samples: list[Sample]) -> None:
    model = promptseg.load("promptseg-test", engine="torch")
    with pytest.raises(promptseg.UnsupportedPromptError, match="no exemplar prompts"):
        list(evaluate_sheets(model, example_sheets(samples)))


def test_a_phrase_that_stands_for_two_objects_shows_both(samples: list[Sample]) -> None:
    first, second = samples[0], samples[1]
    (target,) = second.targets
    other = replace(target, masks=(encode_rle(block(6, 0, 9, 3)),))
    sheets = list(example_sheets([first, replace(second, targets=(target, other))]))
    (question,) = sheets[0].questions()
    assert isinstance(question.prompt, ExemplarPrompt)
    assert question.prompt.foreground.sum() == 25 + 9
