"""Random square crops that keep the object in sight."""

import numpy as np

from promptseg.data.sample import Mask

CropBox = tuple[int, int, int, int]


def object_crop(mask: Mask, rng: np.random.Generator, *, min_share: float = 0.05) -> CropBox:
    """Draw the largest square that fits into an image, so that the object stays at least partly visible.

    Even among the places where more than `min_share` of the image's pixels are object and inside the square; where
    there is no such place, even among those that show the most of it.

    Args:
        mask: The object, bool (H, W); all places are equal where it is empty.
        rng: Of the place.
        min_share: Of the whole image, in [0, 1).

    Returns:
        x0, y0, x1, y1 in whole pixels; side min(H, W).

    Source:
        timojl/clipseg @ 77c4e2d, datasets/phrasecut.py, find_crop (MIT). Differs: it tries 50 places at random and
        takes the first that shows enough, else the best of them, which may show nothing; here all places are known.
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
