"""Changes of color: what is drawn, in which order, and what it does to pixels."""

import numpy as np
from PIL import Image

from promptseg.train.color_jitter import ColorChange
from promptseg.train.pixel_text.batches import COLOR_STRENGTHS


def test_factors_are_drawn_one_after_the_other() -> None:
    drawn = ColorChange.draw(COLOR_STRENGTHS, np.random.default_rng(7))
    rng = np.random.default_rng(7)
    assert drawn == ColorChange(rng.uniform(0.7, 1.3), rng.uniform(0.7, 1.3), rng.uniform(0.6, 1.4))


def test_no_strength_draws_three_numbers_and_changes_nothing() -> None:
    rng, other = np.random.default_rng(7), np.random.default_rng(7)
    assert ColorChange.draw((0.0, 0.0, 0.0), rng) == ColorChange()
    other.random(3)
    assert rng.random() == other.random()
    image = Image.new("RGB", (4, 4), "red")
    assert ColorChange().apply(image) is image


def test_each_factor_changes_what_it_is_called() -> None:
    image = Image.fromarray(np.array([[(200, 100, 50), (40, 40, 40)]], dtype=np.uint8))
    half = np.asarray(ColorChange(brightness=0.5).apply(image))
    assert half.tolist() == [[[100, 50, 25], [20, 20, 20]]]
    assert len(np.unique(np.asarray(ColorChange(contrast=0.0).apply(image)))) == 1
    gray = np.asarray(ColorChange(saturation=0.0).apply(image))
    assert (gray.max(axis=2) == gray.min(axis=2)).all()
