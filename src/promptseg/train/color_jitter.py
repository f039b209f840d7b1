"""Change the colors of a training image by chance: brightness, contrast and saturation, in that order."""

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageEnhance


@dataclass(frozen=True)
class ColorChange:
    """What the colors of an image are multiplied by; 1 changes nothing.

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
            rng: Where the choice comes from.
        """
        brightness, contrast, saturation = (
            float(rng.uniform(1.0 - strength, 1.0 + strength)) for strength in strengths
        )
        return cls(brightness, contrast, saturation)

    def apply(self, image: Image.Image) -> Image.Image:
        """Give the image in other colors."""
        for enhance, factor in (
            (ImageEnhance.Brightness, self.brightness),
            (ImageEnhance.Contrast, self.contrast),
            (ImageEnhance.Color, self.saturation),
        ):
            if factor != 1.0:
                image = enhance(image).enhance(factor)
        return image


SAME_COLORS = ColorChange()
