"""An example from files: an image, and a mask that somebody painted or an annotation tool wrote."""

import numpy as np
from numpy.typing import NDArray

from promptseg.images import ImageSource, read_image, read_mask
from promptseg.prompts import ExemplarPrompt


def read_exemplar(
    image: ImageSource,
    *,
    mask: ImageSource | NDArray[np.bool_] | None = None,
    box_xyxy: tuple[float, float, float, float] | None = None,
    weight: float = 1.0,
) -> ExemplarPrompt:
    """Read an example from an image file and, if there is one, a mask file.

    Args:
        image: The image, as `promptseg.read_image` takes it.
        mask: Which part of it is meant, as `promptseg.read_mask` takes it; with neither mask nor box, all of it.
        box_xyxy: The same as (left, top, right, bottom), pixels.
        weight: How much it counts beside the other concepts of its query; negative: not this.

    Returns:
        The prompt.

    Raises:
        ImageError: A file is missing, damaged or no image.
        PromptError: The mask is empty or of another size, the box lies outside, or both are given.
    """
    return ExemplarPrompt(
        read_image(image),
        mask=None if mask is None else read_mask(mask),
        box_xyxy=box_xyxy,
        weight=weight,
    )
