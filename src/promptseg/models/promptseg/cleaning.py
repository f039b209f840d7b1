"""Remove small islands and fill small holes of a mask: a person who cuts an object out leaves neither."""

import numpy as np
from numpy.typing import NDArray

from promptseg.models.promptseg.settings import CleaningSettings
from promptseg.ops.runs import label_runs
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
    if not inside.any():
        return logits
    islands = label_runs(inside)
    areas = np.bincount(islands.ravel())
    largest = int(areas[1:].max())
    is_small = areas < min_island_share * largest
    is_small[0] = False
    kept = inside & ~is_small[islands]
    holes = label_runs(~kept)
    areas = np.bincount(holes.ravel())
    is_small = areas < min_hole_share * largest
    # what lies on the border of the image goes on beyond it; 0 is no hole
    is_small[np.concatenate([holes[0], holes[-1], holes[:, 0], holes[:, -1], [0]])] = False
    cleaned = np.where(inside & ~kept, np.float32(CLEARED_LOGIT), logits)
    filled: Map = np.where(is_small[holes] & ~inside, np.float32(-CLEARED_LOGIT), cleaned)
    return filled


def clean_object(logits: Map, settings: CleaningSettings) -> Map:
    """Clean the mask of one object, which seldom has several parts."""
    return clean_mask(logits, min_island_share=settings.min_part_share, min_hole_share=settings.min_hole_share)


def clean_objects(logits: Map, settings: CleaningSettings) -> Map:
    """Clean the mask of any number of objects, of which small ones may be right."""
    return clean_mask(logits, min_island_share=settings.min_object_share, min_hole_share=settings.min_hole_share)
