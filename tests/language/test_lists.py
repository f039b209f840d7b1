"""Lists of names in one text, and phrases that only look like one."""

import pytest

from promptseg.language.lists import find_list, split_names


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("cup. table.", ("cup", "table")),
        ("a cat. a remote control.", ("a cat", "a remote control")),
        ("cat.dog.person", ("cat", "dog", "person")),
        ("the man on the left. the dog", ("the man on the left", "the dog")),
        ("person,bus", ("person", "bus")),
        ("apple, orange, banana", ("apple", "orange", "banana")),
        ("traffic light, stop sign, fire hydrant", ("traffic light", "stop sign", "fire hydrant")),
        ("cup, table, and two-door car", ("cup", "table", "two-door car")),
        ("bread and butter, knife or fork", ("bread and butter", "knife", "fork")),
        ("red car, blue cars", ("red car", "blue cars")),
        ("the man on the left, the cat in the box", ("the man on the left", "the cat in the box")),
        ("the cup, the table", ("the cup", "the table")),
        ("cat;dog|bird", ("cat", "dog", "bird")),
        ('["cat", "dog"]', ("cat", "dog")),
        ("['traffic light', 'dog']", ("traffic light", "dog")),
        ("[cat, dog]", ("cat", "dog")),
        ("\u732b\u3001\u72ac", ("\u732b", "\u72ac")),
        ("Katze, Hund", ("Katze", "Hund")),
    ],
)
def test_lists(text: str, names: tuple[str, ...]) -> None:
    assert find_list(text) == names


@pytest.mark.parametrize(
    "phrase",
    [
        "the second white car from the left, not behind a tree",
        "front, left door",
        "big, white dog",
        "old, wooden, round table",
        "the man, red shirt",
        "man, wearing a hat",
        "the man in red, white shorts",
        "the dog, which is brown",
        "person, second from left",
        "left, bottom",
        "cup.",
        "U.S. flag",
        "St. Bernard",
        "J. Crew bag",
        "No. 5 bottle",
        "node.js sticker",
        "1,000 dollar bill",
        "3,5 mm jack",
        "cup and saucer",
        "the bowl on the table, the big one",
        "the man in red, the one on the left",
        "red, white and blue flag",
    ],
)
def test_phrases(phrase: str) -> None:
    assert find_list(phrase) == ()


def test_full_stops_inside_names_and_numbers_do_not_split() -> None:
    text = "Washington D.C. sign, .22 rifle. Dr. Pepper can; 7.62mm round. the U.S."
    assert split_names(text) == ("Washington D.C. sign", ".22 rifle", "Dr. Pepper can", "7.62mm round", "the U.S.")
