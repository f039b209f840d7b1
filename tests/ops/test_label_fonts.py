"""Every character of a label is drawn, or named."""

import pytest

from promptseg.ops.label_fonts import choose_font


@pytest.mark.parametrize(
    "text",
    [
        "cat 0.97",
        "a cup of tea",
        "\u0441\u043e\u0431\u0430\u043a\u0430",
        "\u03b3\u03ac\u03c4\u03b1",
        "caf\u00e9",
        "\u05db\u05dc\u05d1",
        "\u0642\u0637\u0629",
    ],
)
def test_scripts_that_a_font_has_are_drawn_as_they_are(text: str) -> None:
    drawn, font = choose_font(text, 20)
    assert drawn == text
    shapes = {bytes(font.getmask(letter)) for letter in set(text) - {" "}}
    assert len(shapes) == len(set(text) - {" "})


@pytest.mark.parametrize(
    ("text", "drawn"),
    [
        ("\u732b", "U+732B"),
        ("\u732b\u72d7 0.9", "U+732B U+72D7 0.9"),
        ("cafe\u0301", "caf\u00e9"),
        ("cup\u200b\ufe0f", "cup"),
    ],
)
def test_what_no_font_has_is_named(text: str, drawn: str) -> None:
    assert choose_font(text, 20)[0] == drawn
