"""Exemplar queries: the image that shows each phrase, phrases that nothing shows, and scores as for text."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from evaluate_world import COLORS, ColorSegmenter, block, paint

import promptseg
from promptseg.data.sample import Sample, Target
from promptseg.errors import UnsupportedPromptError
from promptseg.evaluate.exemplar_examples import build_exemplar_examples
from promptseg.evaluate.runner import evaluate_examples
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


def test_another_image_shows_the_phrase(samples: list[Sample]) -> None:
    images = {sample.sample_id: read_image(sample.image) for sample in samples}
    queries_of = {example.sample_id: list(example.load_queries()) for example in build_exemplar_examples(samples)}
    # no other image shows green, and none shows "unheard of"
    assert [query.phrase for query in queries_of["0.png"]] == ["red", "blue"]
    assert [query.phrase for query in queries_of["1.png"]] == ["red", "blue", "green"]
    assert queries_of["3.png"] == []
    for sample_id, queries in queries_of.items():
        for query in queries:
            assert isinstance(query.prompt, ExemplarPrompt)
            assert not np.array_equal(query.prompt.image_rgb, images[sample_id])
            shown = query.prompt.image_rgb[query.prompt.foreground]
            assert (shown == COLORS[query.phrase]).all()


def test_the_draw_does_not_depend_on_the_other_images(samples: list[Sample]) -> None:
    def drawn(examples):
        return {
            example.sample_id: [query.prompt.image_rgb.tobytes() for query in example.load_queries()]
            for example in examples
        }

    everything = drawn(build_exemplar_examples(samples, seed=3))
    fewer = drawn(build_exemplar_examples(samples[:3], seed=3))
    # 3.png shows green, a query of 1.png alone
    assert {name: fewer[name] for name in ("0.png", "2.png")} == {name: everything[name] for name in ("0.png", "2.png")}
    assert drawn(build_exemplar_examples(samples, seed=3)) == everything


def test_predictions_are_scored_as_those_for_phrases(samples: list[Sample]) -> None:
    records = list(evaluate_examples(ColorMatcher(), build_exemplar_examples(samples)))
    pairs = [pair for record in records for pair in record.pairs]
    assert [record.error for record in records] == [None] * 4
    assert [(pair.phrase, pair.present) for pair in records[1].pairs] == [
        ("red", True), ("blue", False), ("green", False),
    ]  # fmt: skip
    assert all(pair.counts.intersection == pair.counts.union for pair in pairs if pair.counts is not None)


def test_a_model_that_takes_no_examples_says_so(samples: list[Sample]) -> None:
    model = promptseg.load("promptseg-s1-test", engine="torch")
    with pytest.raises(UnsupportedPromptError, match="no exemplar prompts"):
        list(evaluate_examples(model, build_exemplar_examples(samples)))


def test_a_phrase_that_stands_for_two_objects_shows_both(samples: list[Sample]) -> None:
    first, second = samples[0], samples[1]
    (target,) = second.targets
    other = replace(target, masks=(encode_rle(block(6, 0, 9, 3)),))
    examples = list(build_exemplar_examples([first, replace(second, targets=(target, other))]))
    (query,) = examples[0].load_queries()
    assert isinstance(query.prompt, ExemplarPrompt)
    assert query.prompt.foreground.sum() == 25 + 9
