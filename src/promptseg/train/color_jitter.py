"""Color jitter: random brightness, contrast and saturation of a training image, applied in that order."""

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageEnhance


@dataclass(frozen=True)
class ColorChange:
    """Factors on the colors of an image; 1 changes nothing.

    Attributes:
        brightness: Factor.
        contrast: Factor.
        saturation: Factor.
    """

    brightness: float = 1.0
    contrast: float = 1.0
    saturation: float = 1.0

    @classmethod
    def draw(cls, strengths: tuple[float, float, float], rng: np.random.Generator) -> "ColorChange":
        """Draw each factor evenly between 1 - strength and 1 + strength.

        Args:
            strengths: Of brightness, contrast and saturation.
            rng: Source of every random choice.
        """
        brightness, contrast, saturation = (
            float(rng.uniform(1.0 - strength, 1.0 + strength)) for strength in strengths
        )
        return cls(brightness, contrast, saturation)

    def apply(self, image: Image.Image) -> Image.Image:
        """Return the image with its colors changed."""
        for enhance, factor in (
            (ImageEnhance.Brightness, self.brightness),
            (ImageEnhance.Contrast, self.contrast),
            (ImageEnhance.Color, self.saturation),
        ):
            if factor != 1.0:
                image = enhance(image).enhance(factor)
        return image


SAME_COLORS = ColorChange()
