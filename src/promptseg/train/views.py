"""Views of an image: a crop of it, mirrored or not, at the size of the batch; and its masks, seen the same way."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from promptseg.train.color_jitter import SAME_COLORS, ColorChange

CropBox = tuple[int, int, int, int]  # x0, y0, x1, y1 in pixels of the image


@dataclass(frozen=True)
class View:
    """How an image is looked at.

    Attributes:
        crop_xyxy: The part that is seen, pixels; None: the whole.
        mirrored: Left and right exchanged, after the crop.
        colors: How its colors are changed.
    """

    crop_xyxy: CropBox | None = None
    mirrored: bool = False
    colors: ColorChange = SAME_COLORS


def draw_crop(size_hw: tuple[int, int], smallest_share: float, rng: np.random.Generator) -> CropBox:
    """Draw a crop of the image's own shape.

    Args:
        size_hw: Of the image, pixels.
        smallest_share: Least share of each side that is kept, in (0, 1].
        rng: Where the choice comes from.
    """
    share = rng.uniform(smallest_share, 1.0)
    height, width = (max(1, round(side * share)) for side in size_hw)
    y0, x0 = (int(rng.integers(0, side - part + 1)) for side, part in zip(size_hw, (height, width), strict=True))
    return x0, y0, x0 + width, y0 + height


def view_image(image_rgb: NDArray[np.uint8], view: View, size_hw: tuple[int, int]) -> NDArray[np.uint8]:
    """Show an image, uint8 (H, W, 3), in a view; uint8, shape (*size_hw, 3).

    Resizing is the one of inference (`encoders/pixels.py`), so that both see the same pixels.
    """
    image = view.colors.apply(Image.fromarray(image_rgb))
    return np.asarray(_place(image, view, size_hw, Image.Resampling.BILINEAR))


def view_mask(mask: NDArray[np.bool_], view: View, size_hw: tuple[int, int]) -> NDArray[np.float32]:
    """Show a mask, bool (H, W), in a view.

    Returns:
        The share of each pixel that the mask covers, float32 in [0, 1], shape `size_hw`. A share and not a bool, so
        that what is thinner than a pixel of the loss grid is not lost.
    """
    return np.asarray(_place(Image.fromarray(mask.astype(np.float32)), view, size_hw, Image.Resampling.BOX))


def visible_share(mask: NDArray[np.bool_], view: View) -> float:
    """How much of a mask's area the view shows, in [0, 1]; 1 for an empty mask."""
    if view.crop_xyxy is None or not mask.any():
        return 1.0
    x0, y0, x1, y1 = view.crop_xyxy
    return float(mask[y0:y1, x0:x1].sum() / mask.sum())


def _place(image: Image.Image, view: View, size_hw: tuple[int, int], resampling: Image.Resampling) -> Image.Image:
    height, width = size_hw
    # Cut first: `resize(box=...)` would let the filter see pixels outside the crop.
    if view.crop_xyxy is not None:
        image = image.crop(view.crop_xyxy)
    if view.mirrored:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return image.resize((width, height), resampling)
