"""Look in a region: masks stay in it, coordinates stay those of the image, and nothing outside counts."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import promptseg
from promptseg import BoxPrompt, ExemplarPrompt, MaskPrompt, PointPrompt, Predictor, Query
from promptseg.errors import OutsideImageError, PromptError
from promptseg.image_files import bundled_image
from promptseg.regions import SearchRegion

SIZE_HW = (60, 90)
BOX = (30, 10, 80, 50)
NOISE = np.random.default_rng(0).integers(0, 256, (*SIZE_HW, 3), dtype=np.uint8)


def box_mask(box: tuple[int, int, int, int] = BOX, size_hw: tuple[int, int] = SIZE_HW) -> NDArray[np.bool_]:
    left, top, right, bottom = box
    mask = np.zeros(size_hw, dtype=np.bool_)
    mask[top:bottom, left:right] = True
    return mask


@pytest.fixture(scope="module")
def concepts() -> Predictor:
    return promptseg.load("clipseg-test", threshold=0.0, engine="torch")


@pytest.fixture(scope="module")
def pointing() -> Predictor:
    return promptseg.load("sam-test", threshold=0.0, engine="torch")


@pytest.fixture(scope="module")
def photos() -> tuple[Predictor, NDArray[np.uint8]]:
    """The default model, and a cup on the left of a cat."""
    cup, cat = (promptseg.read_image(bundled_image(name))[:300, 50:450] for name in ("coffee", "chelsea"))
    return promptseg.load(), np.concatenate([cup, cat], axis=1)


def test_a_region_is_segmented_as_an_image_of_its_own(concepts: Predictor) -> None:
    queries = ["cat", Query("like this", (ExemplarPrompt(NOISE, box_xyxy=(0, 0, 40, 40)),)), "background"]
    inside = concepts.segment(NOISE, queries, within=BOX, mask_threshold=0.5)
    alone = concepts.segment(NOISE[10:50, 30:80], queries, mask_threshold=0.5)
    assert inside.image_rgb.shape == NOISE.shape and inside.labels == alone.labels
    for placed, part in zip(inside, alone, strict=True):
        assert placed.presence == part.presence and placed.size_hw == SIZE_HW
        np.testing.assert_array_equal(placed.mask[10:50, 30:80], part.mask)
        assert placed.mask.sum() == part.mask.sum(), "nothing outside"
        assert len(placed.instances) == len(part.instances)
        for moved, instance in zip(placed.instances, part.instances, strict=True):
            assert moved.score == instance.score
            np.testing.assert_array_equal(moved.mask[10:50, 30:80], instance.mask)
            np.testing.assert_array_equal(np.subtract(moved.box_xyxy, (30, 10, 30, 10)), instance.box_xyxy)
        probability = placed.probability
        assert probability.shape == SIZE_HW and probability[:8].max() < 0.01
        assert np.abs(probability[14:46, 34:76] - part.probability[4:36, 4:46]).mean() < 0.1


def test_every_way_to_say_where_means_the_same(concepts: Predictor) -> None:
    expected = concepts.segment(NOISE, "cat", within=BOX, mask_threshold=0.5)[0].mask
    embedding = concepts.encode(NOISE)
    for image, within in (
        (NOISE, np.array(BOX, dtype=np.float32)),
        (NOISE, BoxPrompt((30.4, 10.9, 79.2, 49.5))),
        (NOISE, box_mask()),
        (NOISE, torch.from_numpy(box_mask())),
        (NOISE, torch.tensor(BOX)),
        (NOISE, MaskPrompt(box_mask())),
        (embedding, list(BOX)),
    ):
        np.testing.assert_array_equal(
            concepts.segment(image, "cat", within=within, mask_threshold=0.5)[0].mask, expected
        )
    options = {"model": "clipseg-test", "threshold": 0.0, "engine": "torch", "mask_threshold": 0.5}
    np.testing.assert_array_equal(promptseg.segment(NOISE, "cat", within=BOX, **options)[0].mask, expected)


def test_a_mask_limits_masks_and_instances(concepts: Predictor) -> None:
    triangle = box_mask() & (np.arange(SIZE_HW[0])[:, None] < np.arange(SIZE_HW[1]))
    whole = concepts.segment(NOISE, "cat", within=BOX, mask_threshold=0.5)[0]
    limited = concepts.segment(NOISE, "cat", within=triangle, mask_threshold=0.5)[0]
    np.testing.assert_array_equal(limited.mask, whole.mask & triangle)
    assert limited.instances and all(not (each.mask & ~triangle).any() for each in limited.instances)
    nothing = concepts.segment(NOISE, "cat", within=box_mask() & ~whole.mask, mask_threshold=0.5, threshold=0.01)[0]
    assert nothing.presence == 0 and not nothing.is_present and nothing.instances == ()


def test_points_boxes_and_masks_keep_their_coordinates(pointing: Predictor) -> None:
    part = NOISE[10:50, 30:80]
    earlier = pointing.segment(NOISE, BoxPrompt((32, 12, 70, 45)))[0].as_prompt()
    for prompt, moved in (
        (PointPrompt([(50, 30)]), PointPrompt([(20, 20)])),
        (PointPrompt([(50, 30), (5, 5)], (True, False)), PointPrompt([(20, 20)])),
        (BoxPrompt((20, 20, 60, 40)), BoxPrompt((0, 10, 30, 30))),
        (MaskPrompt(box_mask((20, 20, 60, 40))), MaskPrompt(box_mask((0, 10, 30, 30), (40, 50)))),
    ):
        placed = pointing.segment(NOISE, prompt, within=BOX)[0]
        np.testing.assert_array_equal(placed.mask[10:50, 30:80], pointing.segment(part, moved)[0].mask)
    assert pointing.segment(NOISE, earlier, within=BOX)[0].size_hw == SIZE_HW
    # a point in the first pixel of the region is no share of the image's size
    pointing.segment(NOISE, PointPrompt([(30.5, 10.5)]), within=BOX)


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        (PointPrompt([(5, 5)]), r"the point \(5, 5\) of 'point' is outside the region"),
        (PointPrompt([(5, 5)], (False,)), "all prompts of 'point' lie outside the region"),
        (BoxPrompt((0, 0, 20, 20)), r"the box .* of 'box' is outside the region"),
        (MaskPrompt(box_mask((0, 0, 20, 20))), "the mask of 'mask' is outside the region"),
        (MaskPrompt(np.ones((5, 5), dtype=bool)), "the mask of 'mask' is 5x5 pixels, the image 90x60"),
    ],
)
def test_prompts_outside_the_region_are_refused(pointing: Predictor, prompt: object, said: str) -> None:
    with pytest.raises(OutsideImageError, match=said):
        pointing.segment(NOISE, prompt, within=BOX)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("within", "error", "said"),
    [
        ((90, 0, 120, 50), OutsideImageError, "within: the box .* lies outside the image, 90x60"),
        ((-9, -9, 0, 50), OutsideImageError, "lies outside the image"),
        (np.ones((5, 6), dtype=bool), OutsideImageError, "within: the mask is 6x5 pixels, the image 90x60"),
        ((0.1, 0.1, 0.5, 0.5), PromptError, "within is in pixels; .* looks like shares"),
        ((10, 10, 5, 50), PromptError, "within is .* with left < right"),
        ((1, 2, 3), PromptError, "within is .left, top, right, bottom., not an array of shape"),
        (np.zeros(SIZE_HW, dtype=bool), PromptError, "the mask of within is empty"),
        (np.ones(SIZE_HW), PromptError, "the mask of within is a bool array"),
        ("mask.png", PromptError, "within is a box or a mask, not 'mask.png'; promptseg.read_mask"),
        ("abcd", PromptError, "within is a box or a mask"),
    ],
)
def test_a_region_that_is_none_is_refused_before_anything_is_loaded(
    within: object, error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        promptseg.segment(NOISE, "cat", model="no-such-model", within=within)  # type: ignore[arg-type]


def test_a_box_partly_outside_is_cut_off() -> None:
    assert SearchRegion.read((-20, 30, 45.5, 900), SIZE_HW).window == (0, 30, 46, 60)


def test_a_tiny_region_of_a_large_image_needs_little_memory(concepts: Predictor) -> None:
    large = np.zeros((3000, 4000, 3), dtype=np.uint8)
    (found,) = concepts.segment(large, "cat", within=(3990, 2990, 4000, 3000))
    assert max(found.mask_logits.shape) <= 1024 and found.mask.shape == (3000, 4000)
    assert found.probability[:2900].max() < 0.01


def test_results_of_a_region_can_be_saved_drawn_and_corrected(concepts: Predictor, tmp_path: Path) -> None:
    found = concepts.segment(NOISE, ["cat", "background"], within=BOX, mask_threshold=0.5)
    found.save(tmp_path)
    again = promptseg.Segmentation.load(tmp_path, image=NOISE)
    for before, after in zip(found, again, strict=True):
        np.testing.assert_array_equal(before.mask, after.mask)
    assert found.overlay().size == (90, 60)
    assert found[0].as_prompt().mask.shape == SIZE_HW


def test_the_default_model_looks_there_only(photos: tuple[Predictor, NDArray[np.uint8]]) -> None:
    model, photo = photos
    left, right = (0, 0, 400, 300), (400, 0, 800, 300)
    cup = model.segment(photo, ["cup", "cat"], within=left)
    assert cup["cup"].is_present and not cup["cat"].is_present
    cat = model.segment(photo, ["cup", "cat", "background"], within=right)
    assert cat["cat"].is_present and not cat["cup"].is_present
    assert not cat["cat"].mask[:, :400].any() and cat["cat"].mask.mean() > 0.2
    np.testing.assert_array_equal(cat["background"].mask[:, 400:], ~cat["cat"].mask[:, 400:])
    assert not cat["background"].mask[:, :400].any()


@pytest.mark.parametrize("load", [lambda: promptseg.load("langsam-test"), lambda: promptseg.load("promptseg-s1-test")])
def test_other_models_take_a_region_too(load: Callable[[], Predictor]) -> None:
    (found,) = load().segment(NOISE, "cat", within=BOX, threshold=0.0)
    assert not (found.mask & ~box_mask()).any()
    (tiled,) = load().tiled(64).segment(np.tile(NOISE, (3, 3, 1)), "cat", within=(10, 10, 200, 150), threshold=0.0)
    assert not tiled.mask[:10].any() and not tiled.mask[150:].any()
