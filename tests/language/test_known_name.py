"""Which trained name an untrained phrase says."""

import difflib

import numpy as np
import pytest

from promptseg.language.class_names import COCO_THINGS
from promptseg.language.known_name import MIN_LIKENESS, find_known_name, share_letters
from promptseg.language.reading import PhraseReader, PhraseReading

TRAINED = frozenset(
    ("cart", "cat", "dog", "fruit", "cup", "gray squirrel", "umbrella", "giraffe", "elephant", "shoe", "car", "table",
     "red fox", "keyboard", "person", "airplane", "spacecraft", "suit", "pizza", "vehicle")
)  # fmt: skip
READER = PhraseReader(COCO_THINGS, TRAINED)


def read(phrase: str) -> PhraseReading:
    return READER.read(phrase)


@pytest.mark.parametrize(
    ("phrase", "text"),
    [
        ("soapbox cart", "cart"),
        ("soapbox carts", "carts"),
        ("British shorthair cat", "cat"),
        ("a Great Dane dog", "dog"),
        ("great white dog", "white dog"),
        ("the cup of coffee", "cup"),
        ("a pair of shoes", "shoes"),
        ("slices of pizza", "pizza"),
        ("girafe", "giraffe"),
        ("elefants", "elephant"),
    ],
)
def test_another_kind_is_read_as_the_trained_noun(phrase: str, text: str) -> None:
    reading = read(phrase)
    assert (reading.text, reading.read_as, reading.hypernym) == (text, text, None)


@pytest.mark.parametrize("phrase", ["red car", "old wooden table", "two small dogs", "the dogs of the man", "red fox"])
def test_attributes_stay(phrase: str) -> None:
    reading = read(phrase)
    assert reading.text == phrase and reading.read_as is None


@pytest.mark.parametrize(
    ("phrase", "text"),
    [
        ("grey squirrels", "gray squirrel"),
        ("brolly", "umbrella"),
        ("aeroplanes", "airplane"),
        ("key board", "keyboard"),
        ("keyboards", "keyboards"),
    ],
)
def test_other_words_for_the_same_are_taken_for_it_without_a_word(phrase: str, text: str) -> None:
    reading = read(phrase)
    assert (reading.text, reading.read_as) == (text, None)


@pytest.mark.parametrize(
    ("phrase", "hypernym"), [("tabby", "cat"), ("apples", "fruit"), ("green apple", "fruit"), ("woman", "person")]
)
def test_a_hypernym_is_said(phrase: str, hypernym: str) -> None:
    reading = read(phrase)
    assert (reading.hypernym, reading.read_as) == (hypernym, hypernym)


@pytest.mark.parametrize("phrase", ["game controller", "sea lion", "hot dog", "phone booth", "xyzzy", "cab", ""])
def test_what_has_a_meaning_of_its_own_is_no_kind_of_its_last_word(phrase: str) -> None:
    reading = read(phrase)
    assert reading.text == phrase and reading.read_as in (None, "vehicle", "car")


def test_a_subject_is_read_by_itself() -> None:
    subject, other = read("the soapbox cart next to the red car").mentions
    assert (subject.read_as, other.read_as) == ("cart", None)


def test_without_trained_names_a_phrase_stays() -> None:
    assert find_known_name("soapbox cart", frozenset()).text == "soapbox cart"
    assert PhraseReader().read("soapbox cart").read_as is None


def test_a_misspelled_name_is_compared_with_all_that_difflib_would_find() -> None:
    """Names that share too few letters are left out beforehand; the guess is the same as without that."""
    rng = np.random.default_rng(0)
    names = frozenset(COCO_THINGS) | TRAINED | {"café", "x" * 300}
    for name in sorted(names):
        for _ in range(20):
            letters = list(name)
            letters[rng.integers(len(letters))] = "abcdefghijklmnopqrstuvwxyzé "[rng.integers(28)]
            misspelled = "".join(letters)[rng.integers(2) :]
            asked = {"n": 3, "cutoff": MIN_LIKENESS}
            found = difflib.get_close_matches(misspelled, share_letters(misspelled, names), **asked)
            assert found == difflib.get_close_matches(misspelled, sorted(names), **asked)
