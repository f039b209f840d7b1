"""Cut an image and its masks to a training crop: pixels at full resolution, masks as shares of coarse cells."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

OVERSAMPLE = 3  # mask samples along each side of a cell
FILL_RGB = (124, 116, 104)  # the mean color that towers subtract: outside the image the input is about zero


@dataclass(frozen=True)
class Crop:
    """A window on an image.

    Attributes:
        box_xyxy: The window in pixels of the image; may reach beyond it.
        side: Pixels along each side of the crop.
        flipped: Mirrored left to right.
    """

    box_xyxy: tuple[float, float, float, float]
    side: int
    flipped: bool

    def cut_image(self, image: Image.Image) -> Image.Image:
        """Cut an RGB image; what lies beyond it has the mean color."""
        cut = image.transform(
            (self.side, self.side), Image.Transform.EXTENT, self.box_xyxy, Image.Resampling.BILINEAR, fillcolor=FILL_RGB
        )
        return cut.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if self.flipped else cut

    def cut_mask(self, mask: NDArray[np.bool_], num_cells: int) -> NDArray[np.float32]:
        """Give the share of each cell that a mask, bool (H, W), covers: (num_cells, num_cells), in [0, 1]."""
        samples = (num_cells * OVERSAMPLE,) * 2
        image = Image.fromarray(mask.astype(np.uint8) * 255)
        cut = image.transform(samples, Image.Transform.EXTENT, self.box_xyxy, Image.Resampling.NEAREST)
        cells = np.asarray(cut.resize((num_cells, num_cells), Image.Resampling.BOX), np.float32) / 255.0
        return np.ascontiguousarray(cells[:, ::-1]) if self.flipped else cells


def choose_crop(
    size_hw: tuple[int, int],
    rng: np.random.Generator,
    *,
    side: int,
    reference_side: int,
    zoom: tuple[float, float],
    focus_xy: tuple[float, float] | None,
) -> Crop:
    """Choose a window at random.

    Args:
        size_hw: Of the image.
        rng: Source of chance.
        side: Of the crop, pixels.
        reference_side: At zoom 1 the image's longest side has so many pixels; what inference uses.
        zoom: Least and greatest magnification, drawn evenly on a logarithmic scale.
        focus_xy: A point of the image that the window shall show; None: anywhere.
    """
    height, width = size_hw
    magnification = reference_side / max(size_hw) * math.exp(rng.uniform(math.log(zoom[0]), math.log(zoom[1])))
    aspect = math.exp(rng.uniform(-0.15, 0.15))
    window_wh = (side / magnification * aspect, side / magnification / aspect)
    if focus_xy is None:
        center_xy = (rng.uniform(0, width), rng.uniform(0, height))
    else:
        x, y = (point + rng.uniform(-0.4, 0.4) * extent for point, extent in zip(focus_xy, window_wh, strict=True))
        center_xy = (x, y)
    x0, y0 = (
        _place(center, extent, full, rng)
        for center, extent, full in zip(center_xy, window_wh, (width, height), strict=True)
    )
    return Crop((x0, y0, x0 + window_wh[0], y0 + window_wh[1]), side, flipped=bool(rng.random() < 0.5))


def _place(center: float, extent: float, full: float, rng: np.random.Generator) -> float:
    """Give the lower edge of a window along one axis; one that is larger than the image holds all of it."""
    if extent >= full:
        return float((full - extent) * rng.random())
    return float(min(max(center - extent / 2, 0.0), full - extent))
