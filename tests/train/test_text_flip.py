"""Horizontal flip of text: sides are exchanged, and phrases that can't be reworded are recognized."""

import doctest

import pytest

from promptseg.train import text_flip
from promptseg.train.text_flip import flip_phrase, flip_phrases


def test_the_examples_in_the_docstrings_hold():
    results = doctest.testmod(text_flip)
    assert results.attempted and not results.failed


@pytest.mark.parametrize(
    ("phrase", "flipped"),
    [
        ("left man", "right man"),
        ("the leftmost car on the right-hand side", "the rightmost car on the left-hand side"),
        ("LEFT one", "RIGHT one"),
        ("Right arm of the left player", "Left arm of the right player"),
        ("man on the right in front", "man on the left in front"),
        ("far right behind the desk", "far left behind the desk"),
        ("lefthand door", "righthand door"),
        ("bright upright lamp with leftovers", "bright upright lamp with leftovers"),
        ("the cat", "the cat"),
    ],
)
def test_a_flip_exchanges_sides_and_nothing_else(phrase, flipped):
    assert flip_phrase(phrase) == flipped
    assert flip_phrase(flipped) == phrase


@pytest.mark.parametrize(
    "phrase",
    [
        "lft guy",
        "the r one",
        "girl right next to the door",
        "the only piece left",
        "bag left behind",
        "3 o'clock slice",
    ],
)
def test_ambiguous_phrases_can_not_be_flipped(phrase):
    assert flip_phrase(phrase) is None


def test_phrases_that_can_not_be_flipped_are_left_out():
    assert flip_phrases(["left shoe", "lft shoe", "cup"]) == ["right shoe", "cup"]
