"""Overlays: masks are tinted, the rest of the photo stays, labels are legible and hide little."""

import numpy as np
import pytest

from promptseg.ops.overlay import PALETTE_RGB, OverlayLayer, draw_overlay

GREY = np.full((200, 300, 3), 128, dtype=np.uint8)


def box_mask(top: int, left: int, bottom: int, right: int) -> np.ndarray:
    mask = np.zeros(GREY.shape[:2], dtype=bool)
    mask[top:bottom, left:right] = True
    return mask


def test_overlay_tints_the_mask_and_leaves_the_rest() -> None:
    mask = box_mask(80, 100, 160, 200)
    drawn = np.asarray(draw_overlay(GREY, [OverlayLayer(mask, "cup", 0)]))
    inside = drawn[120, 150].astype(int)
    np.testing.assert_allclose(inside, 128 + 0.42 * (np.array(PALETTE_RGB[0]) - 128), atol=2)
    assert drawn[120, 100].tolist() == list(PALETTE_RGB[0])  # contour
    assert drawn[190, 20].tolist() == [128, 128, 128]
    assert (GREY == 128).all()


def test_overlay_without_a_mask_is_the_photo() -> None:
    np.testing.assert_array_equal(draw_overlay(GREY, []), GREY)
    np.testing.assert_array_equal(draw_overlay(GREY, [OverlayLayer(box_mask(0, 0, 0, 0), "cup", 0)]), GREY)


def test_overlay_draws_small_masks_over_large_ones() -> None:
    small, large = box_mask(90, 130, 110, 170), box_mask(0, 0, 200, 300)
    drawn = np.asarray(draw_overlay(GREY, [OverlayLayer(small, "", 1), OverlayLayer(large, "", 0)]))
    assert drawn[90, 140].tolist() == list(PALETTE_RGB[1])


@pytest.mark.parametrize("mask", [box_mask(0, 0, 12, 30), box_mask(190, 280, 200, 300), box_mask(95, 140, 105, 160)])
def test_labels_do_not_cover_a_small_mask(mask: np.ndarray) -> None:
    without = np.asarray(draw_overlay(GREY, [OverlayLayer(mask, "", 3)]))
    labeled = np.asarray(draw_overlay(GREY, [OverlayLayer(mask, "a cup of tea 0.97", 3)]))
    assert (without != labeled).any()
    assert (without == labeled).all(axis=2)[mask].mean() > 0.9


def test_long_labels_stay_inside_the_image_and_tiny_images_have_none() -> None:
    draw_overlay(GREY, [OverlayLayer(box_mask(0, 0, 200, 300), "word " * 100, 14)])
    tiny = np.zeros((3, 4, 3), dtype=np.uint8)
    assert draw_overlay(tiny, [OverlayLayer(np.ones((3, 4), dtype=bool), "cup", 0)]).size == (4, 3)
