"""Random views of training images on a square canvas: flip, scale, crop or pad, colors.

Source:
    Large-scale jitter as detectron2's ResizeScale and FixedSizeCrop, which Wang et al. 2024, arXiv:2402.08960, use.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from promptseg.train.color_jitter import SAME_COLORS, ColorChange

PADDING_GRAY = 128


@dataclass(frozen=True)
class CanvasView:
    """How an image is placed on a canvas.

    Attributes:
        side: Side of the canvas, pixels.
        scaled_hw: Size that the image is scaled to, pixels.
        offset_xy: Where the canvas begins in the scaled image, pixels.
        flipped: Whether the image is flipped horizontally.
        colors: How its colors are changed.
    """

    side: int
    scaled_hw: tuple[int, int]
    offset_xy: tuple[int, int] = (0, 0)
    flipped: bool = False
    colors: ColorChange = SAME_COLORS

    @property
    def shown_hw(self) -> tuple[int, int]:
        """Height and width of the part of the canvas that shows the image; the rest is padded."""
        (height, width), (left, top) = self.scaled_hw, self.offset_xy
        return min(self.side, height - top), min(self.side, width - left)

    @classmethod
    def draw(
        cls,
        size_hw: tuple[int, int],
        rng: np.random.Generator,
        *,
        side: int,
        scale: tuple[float, float],
        flip: float,
        color_strengths: tuple[float, float, float],
    ) -> "CanvasView":
        """Draw a view.

        Args:
            size_hw: Size of the image, pixels.
            rng: Source of every random choice.
            side: Side of the canvas, pixels.
            scale: Least and greatest length of the image's longer side, as multiples of the canvas's.
            flip: Probability of a flip.
            color_strengths: Of brightness, contrast and saturation.
        """
        factor = side * rng.uniform(*scale) / max(size_hw)
        height, width = (max(1, round(length * factor)) for length in size_hw)
        left, top = (int(rng.integers(0, max(length - side, 0) + 1)) for length in (width, height))
        flipped = bool(rng.random() < flip)
        return cls(side, (height, width), (left, top), flipped, ColorChange.draw(color_strengths, rng))

    @classmethod
    def plain(cls, size_hw: tuple[int, int], side: int) -> "CanvasView":
        """Give the view of inference: the longer side fills the canvas."""
        height, width = (max(1, round(length * side / max(size_hw))) for length in size_hw)
        return cls(side, (height, width))

    def place_image(self, image_rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Place an image, uint8, shape (H, W, 3): uint8, shape (side, side, 3), padded with gray."""
        image = self.colors.apply(Image.fromarray(image_rgb))
        canvas = np.full((self.side, self.side, 3), PADDING_GRAY, dtype=np.uint8)
        rows, columns = self.shown_hw
        canvas[:rows, :columns] = self._cut(image, Image.Resampling.BILINEAR)
        return canvas

    def place_mask(self, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Place a mask, bool, shape (H, W): bool, shape (side, side)."""
        canvas = np.zeros((self.side, self.side), dtype=np.bool_)
        rows, columns = self.shown_hw
        canvas[:rows, :columns] = self._cut(Image.fromarray(mask), Image.Resampling.NEAREST)
        return canvas

    def _cut(self, image: Image.Image, resampling: Image.Resampling) -> NDArray[np.generic]:
        (height, width), (left, top) = self.scaled_hw, self.offset_xy
        rows, columns = self.shown_hw
        if self.flipped:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        return np.asarray(image.resize((width, height), resampling).crop((left, top, left + columns, top + rows)))
