"""Views of images with masks: image, masks, boxes and points stay together; what can't be used is skipped."""

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sa1b_tree import draw_sa1b

from promptseg.data.sa1b import Sa1b, find_sa1b
from promptseg.data.sample import Sample
from promptseg.errors import DataError
from promptseg.train.unpaired.canvas import PADDING_GRAY, CanvasView
from promptseg.train.unpaired.mask_batches import MaskSource, MaskViewSettings, jittered_grid, points_in_masks

SETTINGS = MaskViewSettings(side=64, points_per_side=4, color_strengths=(0.0, 0.0, 0.0))


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Sa1b:
    return find_sa1b(draw_sa1b(tmp_path_factory.mktemp("sa1b"), 4))


@pytest.mark.parametrize("seed", range(8))
def test_image_and_mask_are_placed_alike(seed: int) -> None:
    rng = np.random.default_rng(seed)
    size_hw = (int(rng.integers(30, 90)), int(rng.integers(30, 90)))
    view = CanvasView.draw(size_hw, rng, side=64, scale=(0.8, 1.4), flip=0.5, color_strengths=(0.0, 0.0, 0.0))
    mask = np.zeros(size_hw, dtype=np.bool_)
    mask[: size_hw[0] // 2, : size_hw[1] // 3] = True
    image = np.where(mask[..., None], 255, 0).astype(np.uint8).repeat(3, axis=2)
    placed, canvas = view.place_mask(mask), view.place_image(image)
    rows, columns = view.shown_hw
    assert canvas.shape == (64, 64, 3) and placed.shape == (64, 64)
    agreeing = (canvas[:rows, :columns, 0] > 127) == placed[:rows, :columns]
    assert agreeing.mean() > 0.9, "but for the edge, where one is interpolated"
    assert (canvas[rows:] == PADDING_GRAY).all() and (canvas[:, columns:] == PADDING_GRAY).all()
    assert not placed[rows:].any() and not placed[:, columns:].any()


def test_the_plain_view_is_that_of_inference() -> None:
    view = CanvasView.plain((48, 96), 64)
    assert (view.scaled_hw, view.shown_hw, view.flipped) == ((32, 64), (32, 64), False)


def test_a_flip_is_a_flip_and_a_small_image_is_padded() -> None:
    mask = np.zeros((10, 20), dtype=np.bool_)
    mask[:, :5] = True
    plain = CanvasView.plain((10, 20), 20)
    np.testing.assert_array_equal(replace(plain, flipped=True).place_mask(mask)[:10], plain.place_mask(mask)[:10, ::-1])


def test_an_item_has_masks_boxes_and_points_of_one_view(images: Sa1b) -> None:
    source = MaskSource(images, SETTINGS)
    item = source.item(2, np.random.default_rng(0))
    assert item.image_rgb.shape == (64, 64, 3) and item.masks.shape[1:] == (64, 64) and len(item.masks) > 1
    for mask, box in zip(item.masks, item.boxes_xyxy_unit * 64, strict=True):
        left, top, right, bottom = box.astype(int)
        assert mask[top:bottom, left:right].sum() == mask.sum()
    assert item.points_xy_unit.shape == (16, 2)
    again = source.item(2, np.random.default_rng(0))
    np.testing.assert_array_equal(again.image_rgb, item.image_rgb)
    np.testing.assert_array_equal(again.points_xy_unit, item.points_xy_unit)


def test_points_lie_on_the_shown_part_one_in_each_cell(images: Sa1b) -> None:
    points = jittered_grid(4, np.random.default_rng(0))
    cells = np.floor(points * 4).astype(int)
    assert sorted(map(tuple, cells.tolist())) == [(x, y) for x in range(4) for y in range(4)]
    assert len(np.unique(points % 0.25)) > 16, "each is drawn for itself"
    item = MaskSource(images, replace(SETTINGS, scale=(0.5, 0.5))).item(0, np.random.default_rng(0))
    assert item.points_xy_unit[:, 0].max() <= 0.5 and item.points_xy_unit[:, 1].max() <= 0.34


def test_points_may_lie_in_masks_small_ones_as_often_as_large(images: Sa1b) -> None:
    masks = np.zeros((2, 40, 60), dtype=np.bool_)
    masks[0, :, :30], masks[1, 30:32, 50:52] = True, True
    points = points_in_masks(list(masks), 400, np.random.default_rng(0))
    columns, rows = (points * (60, 40)).astype(int).T
    in_large, in_small = (mask[rows, columns] for mask in masks)
    assert (in_large | in_small).all() and 0.4 < in_small.mean() < 0.6
    source = MaskSource(images, replace(SETTINGS, points="masks"))
    item = source.item(0, np.random.default_rng(0))
    x, y = (item.points_xy_unit * SETTINGS.side).astype(int).T
    assert len(x) == 16 and item.masks[:, y, x].any(axis=0).all()
    np.testing.assert_array_equal(source.item(0, np.random.default_rng(0)).points_xy_unit, item.points_xy_unit)


def test_masks_are_chosen_by_size_and_number(images: Sa1b) -> None:
    few = MaskSource(images, replace(SETTINGS, max_masks=2)).item(0, np.random.default_rng(0))
    assert len(few.masks) == 2
    large = MaskSource(images, replace(SETTINGS, min_area_share=0.05)).item(0, np.random.default_rng(0))
    assert all(mask.mean() >= 0.05 for mask in large.masks)
    small = MaskSource(images, replace(SETTINGS, max_area_share=0.05)).item(0, np.random.default_rng(0))
    assert all(mask.mean() <= 0.05 for mask in small.masks)


def test_a_batch_joins_images_with_different_numbers_of_masks(images: Sa1b) -> None:
    source = MaskSource(images, SETTINGS)
    items = [source.item(index, np.random.default_rng(index)) for index in range(3)]
    batch = source.collate(items)
    assert batch.images_rgb.shape == (3, 64, 64, 3) and batch.points_xy_unit.shape == (3, 16, 2)
    assert [len(masks) for masks in batch.masks] == [len(item.masks) for item in items]
    assert [len(boxes) for boxes in batch.boxes_xyxy_unit] == [len(item.masks) for item in items]
    assert MaskSource(images, replace(SETTINGS, box_prompts=False)).collate(items).boxes_xyxy_unit == ()


def test_a_broken_file_is_skipped_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    images = find_sa1b(draw_sa1b(tmp_path, 3))
    images.paths[0].with_suffix(".json").write_text("{")
    images.paths[1].write_bytes(b"no image")
    with caplog.at_level(logging.WARNING):
        item = MaskSource(images, SETTINGS).item(0, np.random.default_rng(0))
    assert item.sample_id == "sa_2"
    assert ["sa_0.json" in caplog.messages[0], "sa_1.jpg" in caplog.messages[1]] == [True, True]


def test_data_without_any_usable_image_is_an_error(images: Sa1b) -> None:
    nameless = [replace(sample, targets=()) for sample in images]
    with pytest.raises(DataError, match="4 images in a row can't be used; the first: sa_0: the view shows no mask"):
        MaskSource(nameless, SETTINGS).item(0, np.random.default_rng(0))
    other_size: list[Sample] = [replace(images[0], image=images.paths[0].with_name("none.jpg"))]
    with pytest.raises(DataError, match="1 images in a row"):
        MaskSource(other_size, SETTINGS).item(0, np.random.default_rng(0))
