"""Crops, flips and resizing: what they show, where they may lie, and that masks follow their images."""

from dataclasses import replace

import numpy as np
import pytest
from data_trees import box_mask
from PIL import Image

from promptseg.train.augment import (
    FILL_RGB,
    ResizedCrop,
    View,
    random_crop,
    random_resized_crop,
    square_object_crop,
    view_image,
    view_mask,
    visible_share,
)

HALVES_HW = (40, 60)
SIZE_HW = (120, 200)


@pytest.fixture
def image() -> np.ndarray:
    image = np.zeros((*HALVES_HW, 3), dtype=np.uint8)
    image[:, :30] = (200, 0, 0)
    image[:, 30:] = (0, 0, 200)
    return image


def test_flipped_view_shows_the_flipped_image_and_mask(image):
    mask = image[..., 0] > 0
    flipped = View(flipped=True)
    assert np.array_equal(view_image(image, flipped, HALVES_HW), image[:, ::-1])
    assert np.array_equal(view_mask(mask, flipped, HALVES_HW) > 0.5, mask[:, ::-1])


def test_view_of_a_mask_is_the_share_that_it_covers():
    mask = np.zeros((4, 4), dtype=bool)
    mask[0, 0] = mask[2:, 2:] = True
    assert view_mask(mask, View(), (2, 2)).tolist() == [[0.25, 0.0], [0.0, 1.0]]


def test_a_random_crop_is_inside_and_shows_only_its_part(image):
    rng = np.random.default_rng(0)
    for _ in range(200):
        x0, y0, x1, y1 = random_crop(HALVES_HW, 0.4, rng)
        assert 0 <= x0 < x1 <= 60 and 0 <= y0 < y1 <= 40 and x1 - x0 >= 24 and y1 - y0 >= 16
    view = View(crop_xyxy=(0, 0, 30, 40))
    assert (view_image(image, view, (8, 8)) == (200, 0, 0)).all()
    assert visible_share(image[..., 0] > 0, view) == 1.0 and visible_share(image[..., 2] > 0, view) == 0.0


def rectangle(x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
    mask = np.zeros(SIZE_HW, dtype=bool)
    mask[y0:y1, x0:x1] = True
    return mask


def painted(mask: np.ndarray) -> np.ndarray:
    """A black image that is white inside a mask."""
    return np.repeat(mask[..., None], 3, axis=2).astype(np.uint8) * 255


CAT = rectangle(20, 30, 90, 100)


@pytest.mark.parametrize("seed", range(12))
def test_pixels_and_cells_of_a_resized_crop_agree(seed: int) -> None:
    rng = np.random.default_rng(seed)
    crop = random_resized_crop(SIZE_HW, rng, side=96, reference_side=128, zoom=(0.5, 2.0), focus_xy=(55.0, 65.0))
    shares = crop.cut_mask(CAT, 12)
    brightness = np.asarray(crop.cut_image(Image.fromarray(painted(CAT))).convert("L"), np.float32) / 255.0
    in_image = crop.cut_mask(np.ones(SIZE_HW, bool), 12) == 1.0
    seen = brightness.reshape(12, 8, 12, 8).mean(axis=(1, 3))
    assert shares.max() == 1.0 and shares.shape == (12, 12)
    # nine samples to a cell: an edge is known to a sixth of a cell on either axis
    assert seen[shares == 1.0].min() > 0.6
    assert seen[in_image & (shares == 0.0)].max() < 0.25
    assert np.abs(seen - shares)[in_image].mean() < 0.05


def test_a_resized_crop_is_its_part_of_the_image() -> None:
    image = np.random.default_rng(0).integers(0, 256, (*SIZE_HW, 3), dtype=np.uint8)
    crop = ResizedCrop((40.0, 16.0, 136.0, 112.0), side=96, flipped=False)
    assert np.array_equal(np.asarray(crop.cut_image(Image.fromarray(image))), image[16:112, 40:136])
    flipped = replace(crop, flipped=True)
    assert np.array_equal(np.asarray(flipped.cut_image(Image.fromarray(image))), image[16:112, 40:136][:, ::-1])
    mask = np.random.default_rng(1).random(SIZE_HW) < 0.3
    assert np.array_equal(flipped.cut_mask(mask, 12), crop.cut_mask(mask, 12)[:, ::-1])
    # cells of three pixels hold exactly one sample a pixel
    small = ResizedCrop((40.0, 16.0, 76.0, 52.0), side=36, flipped=False)
    blocks = mask[16:52, 40:76].reshape(12, 3, 12, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(small.cut_mask(mask, 12), blocks, atol=1 / 255)


def test_a_crop_beyond_the_image_is_filled_and_not_valid() -> None:
    crop = ResizedCrop((-100.0, -40.0, 300.0, 360.0), side=100, flipped=False)
    valid = crop.cut_mask(np.ones(SIZE_HW, bool), 100)
    pixels = np.asarray(crop.cut_image(Image.new("RGB", SIZE_HW[::-1], "white")))
    assert np.array_equal(valid > 0, rectangle_of(100, 25, 10, 75, 40))
    assert (pixels[valid == 0.0] == FILL_RGB).all() and (pixels[valid == 1.0] == 255).all()


def rectangle_of(side: int, x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
    mask = np.zeros((side, side), dtype=bool)
    mask[y0:y1, x0:x1] = True
    return mask


def test_resized_crops_stay_in_the_image_or_hold_all_of_it() -> None:
    rng = np.random.default_rng(0)
    flips = 0
    for _ in range(300):
        focus_xy = (rng.uniform(0, 200), rng.uniform(0, 120))
        crop = random_resized_crop(SIZE_HW, rng, side=96, reference_side=128, zoom=(0.5, 2.0), focus_xy=focus_xy)
        x0, y0, x1, y1 = crop.box_xyxy
        assert x0 <= focus_xy[0] <= x1 and y0 <= focus_xy[1] <= y1
        for low, high, full in ((x0, x1, 200), (y0, y1, 120)):
            assert (low >= 0 and high <= full + 1e-6) or (low <= 0 and high >= full - 1e-6)
        magnification = 96 / ((x1 - x0) * (y1 - y0)) ** 0.5 * 200 / 128
        assert 0.5 - 1e-6 <= magnification <= 2.0 + 1e-6
        flips += crop.flipped
    assert 100 < flips < 200


@pytest.mark.parametrize("size_hw", [(24, 32), (40, 16), (30, 30), (8, 90)])
def test_square_crops_keep_the_object_in_sight(size_hw):
    rng = np.random.default_rng(0)
    height, width = size_hw
    side = min(size_hw)
    for _ in range(200):
        mask = np.zeros(size_hw, dtype=bool)
        for _ in range(rng.integers(1, 4)):
            y, x = rng.integers(height), rng.integers(width)
            mask[y : y + rng.integers(1, 12), x : x + rng.integers(1, 12)] = True
        x0, y0, x1, y1 = square_object_crop(mask, rng)
        assert (x1 - x0, y1 - y0) == (side, side)
        assert 0 <= x0 <= x1 <= width
        assert 0 <= y0 <= y1 <= height
        most = max(
            mask[y : y + side, x : x + side].sum() for y in range(height - side + 1) for x in range(width - side + 1)
        )
        assert mask[y0:y1, x0:x1].sum() >= min(most, 0.05 * mask.size)
        assert mask[y0:y1, x0:x1].any()


def test_square_crops_reach_every_position_that_shows_enough():
    mask = box_mask(10, 0, 14, 20, (20, 40))
    places = {square_object_crop(mask, np.random.default_rng(seed))[0] for seed in range(300)}
    # Of 80 object pixels, more than 40 (5 % of the image) are to be seen: at least three of four columns.
    assert places == set(range(0, 12))
    assert len({square_object_crop(np.zeros((20, 40), bool), np.random.default_rng(seed)) for seed in range(300)}) == 21
