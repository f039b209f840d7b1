"""Visual prompt engineering: mark a region of an image in the image itself.

The functions are pure and take uint8 images of any size. The published code has lengths in pixels of its 352 x 352
images; here they scale with each side of the image.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from scipy import ndimage

from promptseg.errors import PromptError
from promptseg.models.clipseg.visual_prompt_variants import BEST, REFERENCE_SIDE, VARIANTS, MaskedAttention, Variant
from promptseg.ops.masks import tight_box

ImageRgb = NDArray[np.uint8]
Mask = NDArray[np.bool_]

# ImageNet's mean: the published code works on normalized pixels, where this color is 0. Its backgrounds fade to this
# color and its padding has it, so the published decoder was trained with it.
MEAN_RGB = np.array([123.675, 116.28, 103.53])

RED = np.array([255, 0, 0], dtype=np.uint8)
DYE = np.array([1.0, 0.2, 0.2], dtype=np.float32)
OUTLINE_WIDTH = 5


@dataclass(frozen=True, eq=False)
class TokenMask:
    """Mask for the attention inside the encoder.

    Attributes:
        mask: bool, shape (H, W) of the engineered image.
        layers: Apply it in the last layer only, or in all layers.
        queries: "cls": multiply the logits from the class token to the patches by the mask; "all": multiply the logits
            between patches by the mask at the attended patch.
    """

    mask: Mask
    layers: Literal["last", "all"]
    queries: Literal["cls", "all"]

    def tokens(self, grid_hw: tuple[int, int]) -> Mask:
        """Sample the mask at the first pixel of each patch, as the published code does: bool, shape `grid_hw`."""
        (height, width), (rows, columns) = self.mask.shape, grid_hw
        taken: Mask = self.mask[np.ix_(np.arange(rows) * height // rows, np.arange(columns) * width // columns)]
        return taken


@dataclass(frozen=True, eq=False)
class EngineeredPrompt:
    """An image to encode instead of an exemplar and its region.

    Attributes:
        image_rgb: uint8, shape (H, W, 3).
        token_mask: Mask for the variants that mask attention, else None.
    """

    image_rgb: ImageRgb
    token_mask: TokenMask | None = None


def engineer(image_rgb: ImageRgb, mask: Mask, *, variant: Variant = BEST) -> EngineeredPrompt:
    """Mark a region of an image in the image itself.

    Args:
        image_rgb: uint8, shape (H, W, 3).
        mask: The region, bool, shape (H, W), with at least one pixel set; for a box, `ExemplarPrompt.foreground`.
        variant: A name in `VARIANTS`; the default is the best one in the CLIPSeg paper.

    Returns:
        The image, of the same size, or square for the variants that crop.

    Raises:
        PromptError: There is no such variant, or the mask is empty or has another size.

    Source:
        Lüddecke & Ecker 2022, arXiv:2112.10003; evaluation_utils.py `img_preprocess` of github.com/timojl/clipseg
        @ 77c4e2d (MIT).
        Differs: the result is not resized, and a blur is Pillow's approximation of a Gaussian.
    """
    if variant not in VARIANTS:
        raise PromptError(f"there is no visual prompt {variant!r}; use one of {', '.join(VARIANTS)}")
    if mask.shape != image_rgb.shape[:2] or not mask.any():
        raise PromptError(
            f"the region must be a bool array of the image's shape {image_rgb.shape[:2]} (H, W) with at least one "
            f"pixel set, got {mask.dtype} {mask.shape} with {np.count_nonzero(mask)} set"
        )
    recipe = VARIANTS[variant]
    image_rgb = change_background(image_rgb, mask, blur_sigma=recipe.blur_sigma, contrast=recipe.background)
    if recipe.context is not None:
        image_rgb = crop_square(image_rgb, mask, context=recipe.context)
    if recipe.paint == "dye":
        image_rgb = dye(image_rgb, mask)
    if recipe.paint == "outline":
        image_rgb = draw_outline(image_rgb, mask)
    return EngineeredPrompt(image_rgb, _token_mask(recipe.attention, mask))


def change_background(image_rgb: ImageRgb, mask: Mask, *, blur_sigma: float, contrast: float) -> ImageRgb:
    """Blur the background and fade it to ImageNet's mean color.

    Args:
        image_rgb: uint8, shape (H, W, 3).
        mask: The object, bool, shape (H, W); its pixels do not change, but they bleed into the blur around them.
        blur_sigma: Standard deviation of the Gaussian blur, in 352ths of the image's sides; 0: no blur.
        contrast: From 1, the original background, to 0, the mean color.

    Returns:
        A new image, uint8, shape (H, W, 3).
    """
    background = Image.fromarray(image_rgb)
    if blur_sigma > 0:
        height, width = mask.shape
        radius_xy = (blur_sigma * width / REFERENCE_SIDE, blur_sigma * height / REFERENCE_SIDE)
        background = background.filter(ImageFilter.GaussianBlur(radius_xy))
    mean = MEAN_RGB[:, None]
    levels = np.rint(mean + contrast * (np.arange(256) - mean)).astype(int)
    return np.where(mask[..., None], image_rgb, np.asarray(background.point(levels.ravel().tolist())))


def crop_square(image_rgb: ImageRgb, mask: Mask, *, context: float) -> ImageRgb:
    """Crop an image around the object and pad the crop to a square with ImageNet's mean color.

    Args:
        image_rgb: uint8, shape (H, W, 3).
        mask: The object, bool, shape (H, W).
        context: Margin around the object's box on each side, as a share of the box's extent; the crop is limited to the
            image.

    Returns:
        A new image, uint8, shape (side, side, 3), with the crop in its middle.
    """
    height, width = mask.shape
    left, top, right, bottom = tight_box(mask)
    grow_x, grow_y = context * (right - left), context * (bottom - top)
    rows = slice(int(max(0, top - grow_y)), int(min(height, bottom + grow_y)))
    columns = slice(int(max(0, left - grow_x)), int(min(width, right + grow_x)))
    cut = image_rgb[rows, columns]
    side = max(cut.shape[:2])
    square = np.broadcast_to(np.rint(MEAN_RGB).astype(np.uint8), (side, side, 3)).copy()
    y, x = (side - cut.shape[0]) // 2, (side - cut.shape[1]) // 2
    square[y : y + cut.shape[0], x : x + cut.shape[1]] = cut
    return square


def dye(image_rgb: ImageRgb, mask: Mask) -> ImageRgb:
    """Make the image gray and the object red: uint8, shape (H, W, 3); mask: bool, shape (H, W)."""
    gray = np.asarray(Image.fromarray(image_rgb).convert("L"))[..., None].repeat(3, axis=2)
    return np.where(mask[..., None], np.rint(DYE * gray).astype(np.uint8), gray)


def draw_outline(image_rgb: ImageRgb, mask: Mask) -> ImageRgb:
    """Draw a red line, 5/352 of the image wide, along the outer border of each part of the object.

    Args:
        image_rgb: uint8, shape (H, W, 3).
        mask: The object, bool, shape (H, W).

    Returns:
        A new image, uint8, shape (H, W, 3).
    """
    return np.where(outline(mask)[..., None], RED, image_rgb)


def outline(mask: Mask) -> Mask:
    """Compute the pixels of that line, bool, shape (H, W): half of it lies on the object; holes have no line."""
    filled = ndimage.binary_fill_holes(mask)
    border = filled & ~ndimage.binary_erosion(filled)
    # distances are in 352ths of each side, so that the width is even after the image is resized to a square
    pixel_hw = [REFERENCE_SIDE / side for side in mask.shape]
    near: Mask = ndimage.distance_transform_edt(~border, sampling=pixel_hw) < OUTLINE_WIDTH / 2
    return near


def _token_mask(attention: MaskedAttention | None, mask: Mask) -> TokenMask | None:
    return None if attention is None else TokenMask(mask, attention.layers, attention.queries)
