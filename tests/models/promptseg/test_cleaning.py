"""Small islands go and small holes are filled; what is large enough stays."""

import numpy as np

from promptseg.models.promptseg.cleaning import clean_mask, clean_object, clean_objects
from promptseg.models.promptseg.settings import CleaningSettings
from promptseg.ops.masks import label_components

SETTINGS = CleaningSettings(min_part_share=0.2, min_object_share=0.05, min_hole_share=0.01)


def a_mask() -> np.ndarray:
    """A square of 900 cells with a hole of 4 and one of 64, islands of 100 and of 16, and a notch at the border."""
    logits = np.full((60, 80), -4.0, dtype=np.float32)
    logits[0:30, 5:35] = 3.0
    logits[4:6, 8:10] = -1.0
    logits[15:23, 12:20] = -1.0
    logits[0:2, 30:32] = -1.0
    logits[40:50, 10:20] = 2.0
    logits[40:44, 60:64] = 1.0
    return logits


def test_small_holes_are_filled_and_small_islands_removed() -> None:
    logits = a_mask()
    cleaned = clean_objects(logits, SETTINGS)
    assert (cleaned[4:6, 8:10] > 0).all(), "a small hole"
    assert (cleaned[15:23, 12:20] < 0).all(), "a large hole"
    assert (cleaned[0:2, 30:32] < 0).all(), "at the border it is none"
    assert (cleaned[40:50, 10:20] > 0).all(), "an object of a tenth of the largest"
    assert (cleaned[40:44, 60:64] < 0).all(), "a crumb"
    unchanged = np.ones(logits.shape, dtype=bool)
    unchanged[4:6, 8:10] = unchanged[40:44, 60:64] = False
    np.testing.assert_array_equal(cleaned[unchanged], logits[unchanged])


def test_parts_of_one_object_must_be_larger() -> None:
    cleaned = clean_object(a_mask(), SETTINGS)
    assert label_components(cleaned > 0)[1] == 1


def test_nothing_changes_without_a_mask_or_with_shares_of_zero() -> None:
    nothing = np.full((6, 8), -3.0, dtype=np.float32)
    np.testing.assert_array_equal(clean_objects(nothing, SETTINGS), nothing)
    logits = a_mask()
    np.testing.assert_array_equal(clean_mask(logits, min_island_share=0.0, min_hole_share=0.0), logits)


def test_the_largest_island_always_stays() -> None:
    logits = np.full((9, 9), -3.0, dtype=np.float32)
    logits[4, 4] = 1.0
    assert (clean_mask(logits, min_island_share=1.0, min_hole_share=1.0) > 0).sum() == 1
