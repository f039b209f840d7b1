"""Remove small islands and fill small holes of a mask: a person who cuts an object out leaves neither."""

import numpy as np
from numpy.typing import NDArray

from promptseg.models.promptseg.settings import CleaningSettings
from promptseg.ops.masks import drop_small_islands, fill_small_holes, label_components
from promptseg.sam.refine import CLEARED_LOGIT

Map = NDArray[np.float32]


def clean_mask(logits: Map, *, min_island_share: float, min_hole_share: float) -> Map:
    """Clean a mask.

    Args:
        logits: Shape (h, w), above 0 inside.
        min_island_share: Islands with less than this share of the largest one's area are removed.
        min_hole_share: Holes with less than this share of the largest island's area are filled, unless they touch the
            edge of the image.

    Returns:
        Logits of the same shape.
    """
    inside = logits > 0
    labels, num_islands = label_components(inside)
    if num_islands == 0:
        return logits
    largest = int(np.bincount(labels.ravel())[1:].max())
    kept = drop_small_islands(inside, min_area=int(np.ceil(min_island_share * largest)))
    border = np.ones_like(inside)
    border[1:-1, 1:-1] = False
    whole = fill_small_holes(kept, min_area=int(np.ceil(min_hole_share * largest)), endless=border)
    cleaned = np.where(inside & ~kept, np.float32(CLEARED_LOGIT), logits)
    filled: Map = np.where(whole & ~inside, np.float32(-CLEARED_LOGIT), cleaned)
    return filled


def clean_object(logits: Map, settings: CleaningSettings) -> Map:
    """Clean the mask of one object, which seldom has several parts."""
    return clean_mask(logits, min_island_share=settings.min_part_share, min_hole_share=settings.min_hole_share)


def clean_objects(logits: Map, settings: CleaningSettings) -> Map:
    """Clean the mask of any number of objects, of which small ones may be right."""
    return clean_mask(logits, min_island_share=settings.min_object_share, min_hole_share=settings.min_hole_share)
