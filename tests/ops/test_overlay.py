"""Overlays: masks are tinted, the rest of the image stays, labels are legible and hide little."""

import numpy as np
import pytest

from promptseg.errors import PromptError
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


def test_overlay_without_a_mask_is_the_image() -> None:
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
    masks = [box_mask(0, 0, 200, 300), box_mask(190, 280, 200, 300)]
    for mask in masks:
        without = np.asarray(draw_overlay(GREY, [OverlayLayer(mask, "", 2)]))
        labeled = np.asarray(draw_overlay(GREY, [OverlayLayer(mask, "word " * 100, 2)]))
        rows, columns = np.nonzero((labeled != without).any(axis=2))
        # All of the label is inside: it is as wide as the image lets it be, and as high as a line.
        assert 250 < columns.max() - columns.min() + 1 <= 300
        assert 15 <= rows.max() - rows.min() + 1 <= 25
        shortened = np.asarray(draw_overlay(GREY, [OverlayLayer(mask, "word " * 99, 2)]))
        np.testing.assert_array_equal(shortened, labeled)
    tiny, inside = np.full((3, 4, 3), 128, dtype=np.uint8), np.zeros((3, 4), dtype=bool)
    inside[:, :2] = True
    for caption in ("cup", "word " * 100):
        labeled = draw_overlay(tiny, [OverlayLayer(inside, caption, 0)])
        np.testing.assert_array_equal(labeled, draw_overlay(tiny, [OverlayLayer(inside, "", 0)]))


def test_the_tint_has_the_opacity_asked_for_and_the_contour_stays() -> None:
    mask = box_mask(80, 100, 160, 200)
    for alpha in (0.0, 0.25, 1.0):
        drawn = np.asarray(draw_overlay(GREY, [OverlayLayer(mask, "", 0)], alpha=alpha))
        np.testing.assert_allclose(drawn[120, 150], 128 + alpha * (np.array(PALETTE_RGB[0]) - 128), atol=2)
        assert drawn[120, 100].tolist() == list(PALETTE_RGB[0])
    for alpha in (-0.1, 1.1, float("nan")):
        with pytest.raises(PromptError, match=r"alpha is a number"):
            draw_overlay(GREY, [], alpha=alpha)


def test_boxes_are_outlined_just_inside() -> None:
    layer = OverlayLayer(box_mask(90, 130, 110, 170), "", 1, boxes_xyxy=((30, 20, 270, 180),))
    plain = np.asarray(draw_overlay(GREY, [OverlayLayer(layer.mask, "", 1)]))
    drawn = np.asarray(draw_overlay(GREY, [layer]))
    rows, columns = np.nonzero((drawn != plain).any(axis=2))
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (20, 179, 30, 269)
    assert drawn[20, 100].tolist() == drawn[100, 269].tolist() == list(PALETTE_RGB[1])
    np.testing.assert_array_equal(drawn[25:175, 35:265], plain[25:175, 35:265])


@pytest.mark.parametrize(
    ("first", "second"),
    [("\u732b", "\u72d7"), ("\u043a\u043e\u0442", "\u0434\u043e\u043c"), ("\u00e9", "\u00fc"), ("\u00f1", "\u00e7")],
)
def test_labels_in_any_script_look_different(first: str, second: str) -> None:
    mask = box_mask(80, 100, 160, 200)
    drawn = [np.asarray(draw_overlay(GREY, [OverlayLayer(mask, caption, 0)])) for caption in (first, second)]
    assert (drawn[0] != drawn[1]).any()
