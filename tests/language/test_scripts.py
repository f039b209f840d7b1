"""Phrases in other scripts are told from English ones, and warned of."""

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from command_line import Ended

import promptseg
from promptseg import Predictor, Query, TextPrompt
from promptseg.errors import LanguageWarning
from promptseg.images import bundled_image
from promptseg.language.scripts import find_foreign_script


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


def test_a_command_says_it_in_one_line(promptseg: Callable[..., Ended], tmp_path: Path) -> None:
    photo = bundled_image("coffee")
    ended = promptseg("predict", photo, photo, "-t", "чашка", "--model", "promptseg-test", "--engine", "torch")
    assert ended.code == 0
    (line,) = [line for line in ended.err.splitlines() if "Cyrillic" in line]
    assert line.startswith("warning: the phrase 'чашка' is in Cyrillic letters")
