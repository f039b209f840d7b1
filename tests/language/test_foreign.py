"""Phrases in other scripts and languages are told from English ones, and warned of."""

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from command_line import Ended

import promptseg
from promptseg import Predictor, Query, TextPrompt
from promptseg.errors import LanguageWarning
from promptseg.image_files import bundled_image
from promptseg.language.foreign import find_foreign_script, lacks_known_words


@pytest.mark.parametrize(
    ("phrase", "script"),
    [
        ("cat", None),
        ("chien à gauche", None),
        ("\uff43\uff41\uff54", None),
        ("7", None),
        ("Ωmega sign", None),
        ("猫", "CJK"),
        ("ネコ", "Katakana"),
        ("красная чашка", "Cyrillic"),
        ("고양이", "Hangul"),
        ("قطة", "Arabic"),
        ("γάτα", "Greek"),
        ("बिल्ली", "Devanagari"),
    ],
)
def test_the_script_is_named(phrase: str, script: str | None) -> None:
    assert find_foreign_script(phrase) == script


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return promptseg.load("promptseg-test", engine="torch")


def test_a_phrase_in_another_script_is_answered_with_a_warning(predictor: Predictor) -> None:
    noise = np.zeros((30, 40, 3), dtype=np.uint8)
    said = (
        r"the phrase 'кошка' \(and 1 more\) is in Cyrillic letters, and the model was trained on English: .* in English"
    )
    with pytest.warns(LanguageWarning, match=said):
        found = predictor.segment(noise, ["cat", "кошка", "猫"])
    assert found.labels == ("cat", "кошка", "猫")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        predictor.segment(noise, Query("кошка", (TextPrompt("cat"),)))


@pytest.mark.parametrize("phrase", ["Katze", "perro", "taza", "voiture"])
def test_words_that_are_no_english_nouns_are_told(phrase: str) -> None:
    assert lacks_known_words(phrase)


@pytest.mark.parametrize("phrase", ["cats", "the gray cat's ear", "TV", "7", "wine glasses", "people", "x"])
def test_english_is_known(phrase: str) -> None:
    assert not lacks_known_words(phrase)


def test_what_is_absent_for_its_language_is_said(promptseg: Callable[..., Ended]) -> None:
    request = ("predict", bundled_image("coffee"), "-t", "Katze", "-t", "cat", "--threshold", 1)
    ended = promptseg(*request, "--model", "promptseg-test", "--engine", "torch")
    foreign, english = ended.out.splitlines()[1:]
    assert foreign.endswith("absent; none of its words is a known English noun") and english.endswith("absent")


def test_a_command_says_it_in_one_line(promptseg: Callable[..., Ended], tmp_path: Path) -> None:
    photo = bundled_image("coffee")
    ended = promptseg("predict", photo, photo, "-t", "чашка", "--model", "promptseg-test", "--engine", "torch")
    assert ended.code == 0
    (line,) = [line for line in ended.err.splitlines() if "Cyrillic" in line]
    assert line.startswith("warning: the phrase 'чашка' is in Cyrillic letters")
