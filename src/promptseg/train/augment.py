"""Crops, horizontal flips and resizing of a training image, and of its masks in the same way.

Croppers    `random_crop` keeps the image's aspect ratio, `square_object_crop` keeps an object in sight, and
            `random_resized_crop` draws position, scale and aspect ratio.
Cutters     A `View` is cut and then resized as inference resizes. A `ResizedCrop` may reach beyond the image and is
            sampled at one resolution; its masks become shares of coarse cells.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from promptseg.data.sample import Mask
from promptseg.train.color_jitter import SAME_COLORS, ColorChange

CropBox = tuple[int, int, int, int]  # x0, y0, x1, y1 in whole pixels of the image

OVERSAMPLE = 3  # mask samples along each side of a cell
FILL_RGB = (124, 116, 104)  # the mean color that image towers subtract: outside the image their input is about zero
MAX_LOG_ASPECT = 0.15  # of a random resized crop
FOCUS_JITTER = 0.4  # how far the focus point may lie from the center, as a share of the crop's sides


@dataclass(frozen=True)
class View:
    """How an image is cut, flipped and recolored.

    Attributes:
        crop_xyxy: The part that is kept, pixels; None: the whole image.
        flipped: Whether the part is flipped horizontally.
        colors: How its colors are changed.
    """

    crop_xyxy: CropBox | None = None
    flipped: bool = False
    colors: ColorChange = SAME_COLORS


def random_crop(size_hw: tuple[int, int], min_share: float, rng: np.random.Generator) -> CropBox:
    """Draw a crop of the image's own aspect ratio.

    Args:
        size_hw: Size of the image, pixels.
        min_share: Least share of each side that is kept, in (0, 1].
        rng: Source of every random choice.
    """
    share = rng.uniform(min_share, 1.0)
    height, width = (max(1, round(side * share)) for side in size_hw)
    y0, x0 = (int(rng.integers(0, side - part + 1)) for side, part in zip(size_hw, (height, width), strict=True))
    return x0, y0, x0 + width, y0 + height


def square_object_crop(mask: Mask, rng: np.random.Generator, *, min_share: float = 0.05) -> CropBox:
    """Draw the largest square that fits into an image, so that the object stays at least partly visible.

    The position is drawn evenly among those where more than `min_share` of the image's pixels are object and inside
    the square; where there is none, among those that show the most of the object.

    Args:
        mask: The object, bool, shape (H, W); all positions are equal where it is empty.
        rng: Source of the position.
        min_share: Share of the whole image, in [0, 1).

    Returns:
        x0, y0, x1, y1 in whole pixels; the side is min(H, W).

    Source:
        timojl/clipseg @ 77c4e2d, datasets/phrasecut.py, find_crop (MIT). Differs: it tries 50 random positions and
        takes the first that shows enough, else the best of them, which may show nothing; here every position is
        counted.
    """
    height, width = mask.shape
    side = min(height, width)
    per_line = mask.sum(axis=0 if width > height else 1)
    total = np.concatenate(([0], np.cumsum(per_line)))
    visible = total[side:] - total[:-side]  # by the square's offset along the longer side
    enough = min(min_share * mask.size, visible.max() - 1)
    offset = int(rng.choice(np.flatnonzero(visible > enough)))
    x0, y0 = (offset, 0) if width > height else (0, offset)
    return x0, y0, x0 + side, y0 + side


def view_image(image_rgb: NDArray[np.uint8], view: View, size_hw: tuple[int, int]) -> NDArray[np.uint8]:
    """Apply a view to an image.

    Args:
        image_rgb: uint8, shape (H, W, 3).
        view: What to apply.
        size_hw: Size of the result, pixels. Resizing is that of inference (`encoders/pixels.py`), so that both give
            the network the same pixels.

    Returns:
        uint8, shape (*size_hw, 3).
    """
    image = view.colors.apply(Image.fromarray(image_rgb))
    return np.asarray(_cut_and_resize(image, view, size_hw, Image.Resampling.BILINEAR))


def view_mask(mask: NDArray[np.bool_], view: View, size_hw: tuple[int, int]) -> NDArray[np.float32]:
    """Apply a view to a mask, bool, shape (H, W).

    Returns:
        The share of each pixel that the mask covers, float32 in [0, 1], shape `size_hw`. Shares keep what is thinner
        than a pixel of the result.
    """
    return np.asarray(_cut_and_resize(Image.fromarray(mask.astype(np.float32)), view, size_hw, Image.Resampling.BOX))


def visible_share(mask: NDArray[np.bool_], view: View) -> float:
    """Return the share of a mask's area that the view keeps, in [0, 1]; 1 for an empty mask."""
    if view.crop_xyxy is None or not mask.any():
        return 1.0
    x0, y0, x1, y1 = view.crop_xyxy
    return float(mask[y0:y1, x0:x1].sum() / mask.sum())


@dataclass(frozen=True)
class ResizedCrop:
    """A rectangle of an image, sampled as a square.

    Attributes:
        box_xyxy: The rectangle in pixels of the image; it may reach beyond the image.
        side: Pixels along each side of the result.
        flipped: Whether the result is flipped horizontally.
    """

    box_xyxy: tuple[float, float, float, float]
    side: int
    flipped: bool

    def cut_image(self, image: Image.Image) -> Image.Image:
        """Cut an RGB image; pixels beyond it get `FILL_RGB`."""
        cut = image.transform(
            (self.side, self.side), Image.Transform.EXTENT, self.box_xyxy, Image.Resampling.BILINEAR, fillcolor=FILL_RGB
        )
        return cut.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if self.flipped else cut

    def cut_mask(self, mask: NDArray[np.bool_], num_cells: int) -> NDArray[np.float32]:
        """Return the share of each cell that a mask, bool, shape (H, W), covers: shape (num_cells, num_cells)."""
        samples = (num_cells * OVERSAMPLE,) * 2
        image = Image.fromarray(mask.astype(np.uint8) * 255)
        cut = image.transform(samples, Image.Transform.EXTENT, self.box_xyxy, Image.Resampling.NEAREST)
        cells = np.asarray(cut.resize((num_cells, num_cells), Image.Resampling.BOX), np.float32) / 255.0
        return np.ascontiguousarray(cells[:, ::-1]) if self.flipped else cells


def random_resized_crop(
    size_hw: tuple[int, int],
    rng: np.random.Generator,
    *,
    side: int,
    reference_side: int,
    zoom: tuple[float, float],
    focus_xy: tuple[float, float] | None,
) -> ResizedCrop:
    """Draw a rectangle of random position, scale and aspect ratio, and a horizontal flip.

    Args:
        size_hw: Size of the image, pixels.
        rng: Source of every random choice.
        side: Side of the result, pixels.
        reference_side: The image's longest side at zoom 1, pixels; what inference uses.
        zoom: Least and greatest magnification, drawn evenly on a logarithmic scale.
        focus_xy: A point of the image that the crop must show; None: any position.
    """
    height, width = size_hw
    magnification = reference_side / max(size_hw) * math.exp(rng.uniform(math.log(zoom[0]), math.log(zoom[1])))
    aspect = math.exp(rng.uniform(-MAX_LOG_ASPECT, MAX_LOG_ASPECT))
    box_wh = (side / magnification * aspect, side / magnification / aspect)
    if focus_xy is None:
        center_xy = (rng.uniform(0, width), rng.uniform(0, height))
    else:
        x, y = (
            point + rng.uniform(-FOCUS_JITTER, FOCUS_JITTER) * extent
            for point, extent in zip(focus_xy, box_wh, strict=True)
        )
        center_xy = (x, y)
    x0, y0 = (
        _lower_edge(center, extent, full, rng)
        for center, extent, full in zip(center_xy, box_wh, (width, height), strict=True)
    )
    return ResizedCrop((x0, y0, x0 + box_wh[0], y0 + box_wh[1]), side, flipped=bool(rng.random() < 0.5))


def _lower_edge(center: float, extent: float, full: float, rng: np.random.Generator) -> float:
    """Place a crop along one axis: inside the image, or around all of it where the crop is larger."""
    if extent >= full:
        return float((full - extent) * rng.random())
    return float(min(max(center - extent / 2, 0.0), full - extent))


def _cut_and_resize(
    image: Image.Image, view: View, size_hw: tuple[int, int], resampling: Image.Resampling
) -> Image.Image:
    height, width = size_hw
    # Cut first: `resize(box=...)` would let the filter read pixels outside the crop.
    if view.crop_xyxy is not None:
        image = image.crop(view.crop_xyxy)
    if view.flipped:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return image.resize((width, height), resampling)
