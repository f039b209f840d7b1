"""Colors that a phrase names, in the boxes of an image."""

import doctest

import numpy as np
import pytest

from promptseg.models.promptseg import color_cue
from promptseg.models.promptseg.color_cue import Hsv, color_shares, named_color, to_hsv

# four objects side by side, x0 y0 x1 y1 in shares of the image's sides
BOXES = np.array([[left, 0.3, left + 0.15, 0.7] for left in (0.0, 0.25, 0.5, 0.75)])


def test_examples_hold() -> None:
    results = doctest.testmod(color_cue)
    assert results.attempted and not results.failed


def share(text: str, hsv: Hsv) -> float:
    """Share of the whole image that has the color."""
    shares = color_shares(text, hsv, np.array([[0.0, 0.0, 1.0, 1.0]]))
    assert shares is not None
    return float(shares[0])


def test_colors_are_looked_for_where_they_are_worn() -> None:
    image_rgb = np.full((40, 80, 3), 128, dtype=np.uint8)
    image_rgb[12:20, 2:10] = (200, 20, 20)  # chest of the first
    image_rgb[23:28, 22:30] = (200, 20, 20)  # legs of the second
    hsv = to_hsv(image_rgb)
    assert np.argmax(color_shares("red shirt", hsv, BOXES)) == 0
    assert np.argmax(color_shares("red shorts", hsv, BOXES)) == 1
    assert color_shares("striped shirt", hsv, BOXES) is None


@pytest.mark.parametrize(
    ("rgb", "name"),
    [
        ((0, 0, 0), "black"), ((255, 255, 255), "white"), ((128, 128, 128), "gray"), ((220, 10, 20), "red"),
        ((255, 140, 0), "orange"), ((240, 220, 20), "yellow"), ((20, 160, 40), "green"), ((20, 60, 200), "blue"),
        ((130, 20, 180), "purple"), ((250, 130, 190), "pink"), ((110, 65, 25), "brown"),
    ],
)  # fmt: skip
def test_plain_colors_go_by_their_name(rgb: tuple[int, int, int], name: str) -> None:
    hsv = to_hsv(np.full((4, 4, 3), rgb, dtype=np.uint8))
    assert share(name, hsv) > 0.8
    plain = {"black", "white", "gray", "red", "yellow", "green", "blue", "purple"} - {name}
    assert sum(share(other, hsv) for other in plain) < 0.2


@pytest.mark.parametrize("name", ["gray", "grey", "Gray"])
def test_both_spellings_of_gray_are_read(name: str) -> None:
    assert named_color(f"a {name} hat") == "gray"
    assert share(name, to_hsv(np.full((4, 4, 3), 128, dtype=np.uint8))) > 0.8


def test_boxes_at_the_border_have_a_share_too() -> None:
    hsv = to_hsv(np.full((4, 4, 3), (200, 20, 20), dtype=np.uint8))
    shares = color_shares("red", hsv, np.array([[1.0, 1.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0]]))
    assert shares is not None and (shares > 0.8).all()
