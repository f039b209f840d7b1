"""Entities of captions: names that an image can show, the longest ones, no verbs and no places in the image."""

import pytest

from promptseg.language.entities import find_entities


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("A man in a red shirt plays with a tennis racket.", ("man", "shirt", "tennis racket")),
        ("A couple of people standing on top of a snow covered slope.", ("person", "snow", "slope")),
        ("a white cat laying on a wooden table next to a laptop", ("cat", "table", "laptop")),
        ("Two dogs are sitting in the back of a pickup truck.", ("dog", "pickup truck")),
        ("A bathroom with a toilet, sink and a shower curtain", ("bathroom", "toilet", "sink", "shower curtain")),
        ("The hot dogs have mustard and onions on them", ("hot dog", "mustard", "onion")),
        ("A clock tower near a parking lot with cars", ("clock tower", "parking lot", "car")),
        ("A woman in a dress stands near a stand", ("woman", "dress", "stand")),
        ("a boy holding a baseball bat; a bat hits the ball", ("boy", "baseball bat", "bat", "ball")),
        ("It was a good time.", ()),
        ("", ()),
        ("!!! 123 é", ()),
    ],
)
def test_a_caption_names_what_it_shows(caption: str, expected: tuple[str, ...]) -> None:
    assert find_entities([caption]) == expected


def test_captions_of_one_image_are_joined_and_synonyms_are_one() -> None:
    found = find_entities(["A sofa and two lamps", "a couch beside a lamp", "a cat on the sofa"])
    assert found == ("sofa", "lamp", "cat")
