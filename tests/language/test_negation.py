"""Phrases that say what is not meant, or everything, are answered with a warning and a way out."""

import warnings

import numpy as np
import pytest

import promptseg
from promptseg import Predictor
from promptseg.errors import LanguageWarning


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return promptseg.load("promptseg-test", engine="torch")


@pytest.mark.parametrize(
    ("phrase", "said"),
    [
        ("no cat", r"says what is not meant \('no'\), .* --invert"),
        ("not red", r"says what is not meant \('not'\)"),
        ("all cats except the black one", r"says what is not meant \('except'\)"),
        ("Everything but the cat", r"says what is not meant \('everything but'\)"),
        ("everything", "names no kind of object: .* segment-everything"),
        ("all objects", "names no kind of object"),
    ],
)
def test_a_phrase_that_models_do_not_understand_is_told(predictor: Predictor, phrase: str, said: str) -> None:
    with pytest.warns(LanguageWarning, match=f"the phrase '{phrase}' {said}"):
        found = predictor.segment(np.zeros((30, 40, 3), dtype=np.uint8), ["dog", phrase])
    assert found.labels == ("dog", phrase)


@pytest.mark.parametrize(
    "phrase",
    ["all cats", "no parking sign", "non-stick pan", "man without a hat", "the second car, not behind a tree", "knot"],
)
def test_a_phrase_that_names_something_is_not_warned_of(predictor: Predictor, phrase: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        predictor.check_queries(phrase)


def test_a_number_before_a_name_makes_no_list(predictor: Predictor) -> None:
    assert [query.label for query in predictor.check_queries("1. cat")] == ["1. cat"]
