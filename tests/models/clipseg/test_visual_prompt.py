"""Visual prompts: what each does to the object, what to the rest, and that it is what the published code does."""

from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

import promptseg
from promptseg.errors import PromptError
from promptseg.image_files import bundled_image
from promptseg.models.clipseg.visual_prompt import MEAN_RGB, change_background, crop_square, dye, engineer, outline
from promptseg.models.clipseg.visual_prompt_variants import BEST, VARIANTS, Variant

RNG = np.random.default_rng(0)
IMAGE_RGB = RNG.integers(0, 256, (60, 88, 3), dtype=np.uint8)
MASK = np.zeros((60, 88), dtype=bool)
MASK[20:40, 30:40] = True
MASK[30:36, 30:50] = True

WHOLE = [name for name, recipe in VARIANTS.items() if recipe.context is None]
CROPS = [name for name, recipe in VARIANTS.items() if recipe.context is not None]


def test_the_table_holds_the_papers_rows_and_names_the_best() -> None:
    assert tuple(VARIANTS) == get_args(Variant)
    # 3 that mask attention, 2 that paint, 5 that change the background, 5 that crop; then the original and a highlight
    assert len(VARIANTS) == 17 and len(CROPS) == 5
    best = VARIANTS[BEST]
    assert (best.blur_sigma, best.background, best.context) == (3.0, 0.1, 0.1)


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_makes_a_image_and_leaves_its_input_alone(variant: Variant) -> None:
    image_rgb, mask = IMAGE_RGB.copy(), MASK.copy()
    prompt = engineer(image_rgb, mask, variant=variant)
    assert prompt.image_rgb.dtype == np.uint8 and prompt.image_rgb.shape[2] == 3
    assert (prompt.token_mask is not None) == variant.startswith("mask-")
    np.testing.assert_array_equal(image_rgb, IMAGE_RGB)
    np.testing.assert_array_equal(mask, MASK)
    assert not np.shares_memory(prompt.image_rgb, image_rgb) or variant == "original" or prompt.token_mask


@pytest.mark.parametrize("variant", [name for name in WHOLE if VARIANTS[name].paint is None])
def test_a_full_mask_changes_nothing(variant: Variant) -> None:
    prompt = engineer(IMAGE_RGB, np.ones_like(MASK), variant=variant)
    np.testing.assert_array_equal(prompt.image_rgb, IMAGE_RGB)


@pytest.mark.parametrize("variant", CROPS)
def test_a_full_mask_on_a_square_image_changes_nothing_however_it_is_cropped(variant: Variant) -> None:
    square = IMAGE_RGB[:, :60]
    np.testing.assert_array_equal(engineer(square, np.ones((60, 60), dtype=bool), variant=variant).image_rgb, square)


@pytest.mark.parametrize("variant", WHOLE)
def test_object_pixels_stay_unless_they_are_painted(variant: Variant) -> None:
    prompt = engineer(IMAGE_RGB, MASK, variant=variant)
    assert prompt.image_rgb.shape == IMAGE_RGB.shape
    if VARIANTS[variant].paint is None:
        np.testing.assert_array_equal(prompt.image_rgb[MASK], IMAGE_RGB[MASK])


@pytest.mark.parametrize("contrast", [0.5, 0.1, 0.0])
def test_fading_leaves_exactly_that_share_of_the_background(contrast: float) -> None:
    faded = engineer(IMAGE_RGB, MASK, variant=f"background-{contrast * 100:.0f}").image_rgb  # type: ignore[arg-type]
    expected = MEAN_RGB + contrast * (IMAGE_RGB.astype(float) - MEAN_RGB)
    assert np.abs(faded - expected)[~MASK].max() <= 0.5 + 1e-4


def test_fading_twice_is_fading_by_the_product() -> None:
    once = change_background(IMAGE_RGB, MASK, blur_sigma=0, contrast=0.25)
    twice = change_background(
        change_background(IMAGE_RGB, MASK, blur_sigma=0, contrast=0.5), MASK, blur_sigma=0, contrast=0.5
    )
    assert np.abs(once.astype(int) - twice).max() <= 1
    black = change_background(IMAGE_RGB, MASK, blur_sigma=0, contrast=0)
    np.testing.assert_array_equal(change_background(black, MASK, blur_sigma=0, contrast=0), black)


@pytest.mark.parametrize("context", [0.0, 0.1, 0.5])
def test_crop_keeps_the_object_whole_in_the_middle(context: float) -> None:
    cut = crop_square(IMAGE_RGB, MASK, context=context)
    width, height = int(50 + 20 * context) - int(30 - 20 * context), int(40 + 20 * context) - int(20 - 20 * context)
    assert cut.shape == (max(width, height),) * 2 + (3,)
    y, x = (len(cut) - height) // 2, (len(cut) - width) // 2
    top, left = int(20 - 20 * context), int(30 - 20 * context)
    np.testing.assert_array_equal(cut[y : y + height, x : x + width], IMAGE_RGB[top:, left:][:height, :width])


def test_crop_of_a_crop_is_itself() -> None:
    full = np.zeros((90, 90), dtype=bool)
    full[10:14, 20:60] = True
    once = crop_square(RNG.integers(0, 256, (90, 90, 3), dtype=np.uint8), full, context=0)
    assert once.shape == (40, 40, 3)
    np.testing.assert_array_equal(once[:18], np.broadcast_to(np.rint(MEAN_RGB), (18, 40, 3)))
    np.testing.assert_array_equal(crop_square(once, np.ones((40, 40), dtype=bool), context=0), once)


def test_crop_ends_where_the_image_ends() -> None:
    corner = np.zeros((60, 88), dtype=bool)
    corner[55:, 80:] = True
    assert crop_square(IMAGE_RGB, corner, context=0.5).shape == (12, 12, 3)
    single = np.zeros((60, 88), dtype=bool)
    single[0, 0] = True
    np.testing.assert_array_equal(crop_square(IMAGE_RGB, single, context=0.1), IMAGE_RGB[:1, :1])


def test_outline_is_the_pixels_within_two_of_the_border_at_the_reference_size() -> None:
    mask = np.zeros((352, 352), dtype=bool)
    mask[100:200, 120:260] = True
    mask[140:150, 160:170] = False  # a hole has no outline
    mask[0:30, 0:30] = True  # a part at the image's border has one there too
    border = np.zeros_like(mask)
    for top, bottom, left, right in [(100, 199, 120, 259), (0, 29, 0, 29)]:
        border[[top, bottom], left : right + 1] = True
        border[top : bottom + 1, [left, right]] = True
    ys, xs = np.nonzero(border)
    rows, columns = np.mgrid[:352, :352]
    expected = np.zeros_like(mask)
    for y, x in zip(ys, xs, strict=True):
        expected[max(0, y - 2) : y + 3, max(0, x - 2) : x + 3] |= ((rows - y) ** 2 + (columns - x) ** 2 < 2.5**2)[
            max(0, y - 2) : y + 3, max(0, x - 2) : x + 3
        ]
    np.testing.assert_array_equal(outline(mask), expected)
    painted = engineer(np.zeros((352, 352, 3), dtype=np.uint8), mask, variant="outline").image_rgb
    np.testing.assert_array_equal(painted, np.where(expected[..., None], [255, 0, 0], 0))


def test_outline_is_as_wide_once_the_image_is_squashed() -> None:
    mask = np.zeros((704, 352), dtype=bool)
    mask[300:400, 100:200] = True
    line = outline(mask)
    # two lines each way: 5 pixels across the short side, 9 (the odd number below 2 x 5) along the long one
    assert (line[350].sum(), line[:, 150].sum()) == (10, 18)


def test_dye_is_gray_outside_and_red_inside() -> None:
    dyed = dye(IMAGE_RGB, MASK)
    gray = IMAGE_RGB @ [0.299, 0.587, 0.114]
    assert np.abs(dyed[~MASK] - gray[~MASK][:, None]).max() <= 1
    assert np.abs(dyed[MASK] - gray[MASK][:, None] * [1, 0.2, 0.2]).max() <= 1


def test_token_masks_take_the_first_pixel_of_each_patch() -> None:
    mask = RNG.random((352, 352)) < 0.5
    prompt = engineer(np.zeros((352, 352, 3), dtype=np.uint8), mask, variant="mask-cls")
    assert prompt.token_mask is not None
    expected = F.interpolate(torch.from_numpy(mask)[None, None].float(), (22, 22))[0, 0].bool().numpy()
    np.testing.assert_array_equal(prompt.token_mask.tokens((22, 22)), expected)
    assert [engineer(IMAGE_RGB, MASK, variant=name).token_mask.layers for name in ("mask-cls-last", "mask-all")] == [  # type: ignore[union-attr, arg-type]
        "last",
        "all",
    ]


def published(image_rgb: np.ndarray, mask: np.ndarray, *, blur: float, background: float, context: float | None):
    """What the published code computes, written anew: normalized pixels, cv2's Gaussian of 15 taps, nearest resize."""
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    pixels = ((torch.from_numpy(image_rgb) / 255 - mean) / std).permute(2, 0, 1)
    inside = torch.from_numpy(mask)
    behind = pixels
    if blur:
        taps = torch.exp(-(torch.arange(-7.0, 8.0) ** 2) / (2 * blur**2))
        taps = (taps / taps.sum()).view(1, 1, 1, 15)
        wide = F.pad(pixels[:, None], (7, 7, 7, 7), mode="reflect")
        behind = F.conv2d(F.conv2d(wide, taps), taps.transpose(2, 3))[:, 0]
    result = torch.where(inside, pixels, background * behind)
    if context is not None:
        ys, xs = inside.any(1).nonzero(), inside.any(0).nonzero()
        top, bottom, left, right = int(ys[0]), int(ys[-1]) + 1, int(xs[0]), int(xs[-1]) + 1
        grow_y, grow_x = context * (bottom - top), context * (right - left)
        result = result[
            :,
            int(max(0, top - grow_y)) : int(min(len(mask), bottom + grow_y)),
            int(max(0, left - grow_x)) : int(min(len(mask), right + grow_x)),
        ]
        height, width = result.shape[1:]
        y, x = max(0, width - height), max(0, height - width)
        result = F.pad(result, (x // 2, x - x // 2, y // 2, y - y // 2))
    return ((result.permute(1, 2, 0) * std + mean) * 255).numpy()


@pytest.mark.parametrize("variant", [name for name, recipe in VARIANTS.items() if not recipe.paint])
def test_parity_with_the_published_arithmetic_at_its_size(variant: Variant) -> None:
    image_rgb = np.array(Image.open(bundled_image("chelsea")).convert("RGB").resize((352, 352)))
    mask = np.zeros((352, 352), dtype=bool)
    mask[60:250, 100:240] = True
    mask[200:300, 150:200] = True
    recipe = VARIANTS[variant]
    expected = published(image_rgb, mask, blur=recipe.blur_sigma, background=recipe.background, context=recipe.context)
    ours = engineer(image_rgb, mask, variant=variant).image_rgb
    assert ours.shape == expected.shape
    difference = np.abs(ours - expected)
    # rounding to uint8, and for a blur Pillow's approximation, which differs most at the image's border
    assert difference.mean() < 0.8 and difference.max() <= (9 if recipe.blur_sigma else 0.51)


def test_engineer_refuses() -> None:
    with pytest.raises(PromptError, match=r"there is no visual prompt 'zoom'; use one of original, .*crop-blur-10"):
        engineer(IMAGE_RGB, MASK, variant="zoom")  # type: ignore[arg-type]
    with pytest.raises(
        PromptError, match=r"the image's shape \(60, 88\) \(H, W\) with at least one pixel set, got bool"
    ):
        engineer(IMAGE_RGB, MASK.T)
    with pytest.raises(PromptError, match="with 0 set"):
        engineer(IMAGE_RGB, np.zeros_like(MASK))


def test_read_exemplar_takes_files_and_boxes(tmp_path: Path) -> None:
    image, mask = tmp_path / "mug.png", tmp_path / "mug-mask.png"
    Image.fromarray(IMAGE_RGB).save(image)
    Image.fromarray(MASK).save(mask)
    exemplar = promptseg.ExemplarPrompt.from_file(image, mask=mask, weight=-0.5)
    np.testing.assert_array_equal(exemplar.image_rgb, IMAGE_RGB)
    np.testing.assert_array_equal(exemplar.foreground, MASK)
    assert exemplar.weight == -0.5
    assert promptseg.ExemplarPrompt.from_file(image, box_xyxy=(30, 20, 50, 40)).foreground.sum() == 400
    assert promptseg.ExemplarPrompt.from_file(IMAGE_RGB).foreground.all()


def test_read_exemplar_takes_a_cut_out_as_its_own_mask(tmp_path: Path) -> None:
    path = tmp_path / "cut-out.png"
    Image.fromarray(np.dstack([IMAGE_RGB, MASK.astype(np.uint8) * 255])).save(path)
    np.testing.assert_array_equal(promptseg.ExemplarPrompt.from_file(path, mask=path).foreground, MASK)


def test_read_exemplar_refuses(tmp_path: Path) -> None:
    with pytest.raises(promptseg.ImageError, match="no such file"):
        promptseg.ExemplarPrompt.from_file(IMAGE_RGB, mask=tmp_path / "missing.png")
    with pytest.raises(PromptError, match="the exemplar's mask is empty"):
        promptseg.ExemplarPrompt.from_file(IMAGE_RGB, mask=np.zeros_like(MASK))
    with pytest.raises(PromptError, match=r"mask is \(88, 60\), its image \(60, 88\)"):
        promptseg.ExemplarPrompt.from_file(IMAGE_RGB, mask=MASK.T)
    with pytest.raises(PromptError, match="outside its image"):
        promptseg.ExemplarPrompt.from_file(IMAGE_RGB, box_xyxy=(90, 0, 99, 9))
    with pytest.raises(PromptError, match="a mask or a box, not both"):
        promptseg.ExemplarPrompt.from_file(IMAGE_RGB, mask=MASK, box_xyxy=(0, 0, 9, 9))
