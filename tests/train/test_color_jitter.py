"""Color jitter: the distribution of the factors, and their effect on pixels."""

import numpy as np
import pytest
from PIL import Image

from promptseg.train.color_jitter import ColorChange


def test_factors_are_drawn_independently_and_evenly_around_one() -> None:
    rng = np.random.default_rng(7)
    draws = [ColorChange.draw((0.3, 0.3, 0.4), rng) for _ in range(2000)]
    factors = np.array([(one.brightness, one.contrast, one.saturation) for one in draws])
    for column, strength in zip(factors.T, (0.3, 0.3, 0.4), strict=True):
        assert 1 - strength <= column.min() < 1 - 0.95 * strength and 1 + 0.95 * strength < column.max() <= 1 + strength
        assert abs(column.mean() - 1.0) < 0.03 and column.std() == pytest.approx(strength / 3**0.5, rel=0.05)
    assert np.abs(np.corrcoef(factors.T) - np.eye(3)).max() < 0.1
    assert ColorChange.draw((0.3, 0.3, 0.4), np.random.default_rng(7)) == draws[0]


def test_no_strength_draws_three_numbers_and_changes_nothing() -> None:
    rng, other = np.random.default_rng(7), np.random.default_rng(7)
    assert ColorChange.draw((0.0, 0.0, 0.0), rng) == ColorChange()
    other.random(3)
    assert rng.random() == other.random()
    image = Image.new("RGB", (4, 4), "red")
    assert ColorChange().apply(image) is image


def test_each_factor_changes_what_its_name_says() -> None:
    image = Image.fromarray(np.array([[(200, 100, 50), (40, 40, 40)]], dtype=np.uint8))
    half = np.asarray(ColorChange(brightness=0.5).apply(image))
    assert half.tolist() == [[[100, 50, 25], [20, 20, 20]]]
    assert len(np.unique(np.asarray(ColorChange(contrast=0.0).apply(image)))) == 1
    gray = np.asarray(ColorChange(saturation=0.0).apply(image))
    assert (gray.max(axis=2) == gray.min(axis=2)).all()
