"""Sharpen coarse masks: every connected object of one prompts SAM with its box, points and itself.

Source:
    Prompts of box, points and mask together as in Kirillov et al. 2023, "Segment Anything", arXiv:2304.02643.
    What is kept and what is not is ours.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from promptseg.ops.masks import inner_points, iterate_components, mask_iou
from promptseg.sam.base import OUTSIDE_LOGIT, Frame, PromptableSegmenter, SamEmbedding
from promptseg.sam.prompt_batching import ObjectMasks, ObjectPrompt, mask_objects
from promptseg.sam.refine_settings import RefineSettings

# Logit of the cells that the coarse object covered and the refined one does not: as low as SAM's own outside an object,
# or else interpolation would move the edge between the two outwards.
CLEARED_LOGIT = -6.0


DEFAULT_SETTINGS = RefineSettings()


@dataclass(frozen=True, eq=False)
class CoarseObject:
    """A connected object of a coarse map, in the cells of the map.

    Attributes:
        mask: bool, shape (h, w).
        box_xyxy: Around it, right and bottom exclusive.
        points_xy: Points inside it, shape (P, 2).
    """

    mask: NDArray[np.bool_]
    box_xyxy: tuple[int, int, int, int]
    points_xy: NDArray[np.float64]


def refine(
    sam: PromptableSegmenter,
    embedding: SamEmbedding,
    coarse: NDArray[np.float32],
    settings: RefineSettings = DEFAULT_SETTINGS,
) -> NDArray[np.float32]:
    """Sharpen the masks of N queries on one image, all objects in one call of SAM.

    Args:
        sam: Draws the masks.
        embedding: Of this image.
        coarse: Logits over the whole image, shape (N, h, w) with (h, w) = `Frame.map_hw`; above 0 means object.
        settings: Which prompts SAM gets, and when its mask is taken.

    Returns:
        Logits of the same shape: refined objects, and the coarse map wherever SAM's mask is not taken.
    """
    objects = [list(find_objects(one, settings)) for one in coarse]
    prompts = [
        prompt_for(found, one, embedding.frame, settings)
        for one, own in zip(coarse, objects, strict=True)
        for found in own
    ]
    masks = iter(mask_objects(sam, embedding, prompts, choice="single"))
    merged = [
        merge_refined(one, own, [next(masks) for _ in own], settings) for one, own in zip(coarse, objects, strict=True)
    ]
    return np.stack(merged) if merged else coarse.copy()


def find_objects(logits: NDArray[np.float32], settings: RefineSettings) -> Iterator[CoarseObject]:
    """Yield the objects of a coarse map, shape (h, w), that SAM is to redraw, the largest first."""
    components = [
        (int(inside.sum()), window, inside)
        for window, inside in iterate_components(logits > 0, min_share=settings.min_share)
    ]
    components.sort(key=lambda found: -found[0])
    left = sum(area for area, _, _ in components)
    spared = (1 - settings.coverage) * left
    for area, (rows, columns), inside in components[: settings.max_objects]:
        if left <= spared:
            return
        left -= area
        mask = np.zeros(logits.shape, dtype=bool)
        mask[rows, columns] = inside
        points = inner_points(inside, settings.num_points) + np.array((columns.start, rows.start))
        yield CoarseObject(mask, (columns.start, rows.start, columns.stop, rows.stop), points)


def prompt_for(
    found: CoarseObject, coarse: NDArray[np.float32], frame: Frame, settings: RefineSettings
) -> ObjectPrompt:
    """Make the prompt for one object of a coarse map, shape (h, w)."""
    to_image = np.array(frame.original_hw[::-1]) / frame.map_hw[::-1]
    left, top, right, bottom = (np.array(found.box_xyxy) * np.tile(to_image, 2)).tolist()
    # Other objects of the same map are not this one.
    others = (coarse > 0) & ~found.mask
    return ObjectPrompt(
        found.points_xy * to_image,
        np.ones(len(found.points_xy), dtype=np.bool_),
        (left, top, right, bottom),
        np.where(others, np.float32(OUTSIDE_LOGIT), coarse) if settings.with_mask else None,
    )


def merge_refined(
    coarse: NDArray[np.float32],
    objects: Sequence[CoarseObject],
    masks: Sequence[ObjectMasks],
    settings: RefineSettings,
) -> NDArray[np.float32]:
    """Replace objects of a coarse map by SAM's masks where these are taken.

    Args:
        coarse: Logits, shape (h, w).
        objects: Of the map.
        masks: SAM's, one for each object.
        settings: When a mask is taken.
    """
    taken = [
        (found, one.mask_logits[0])
        for found, one in zip(objects, masks, strict=True)
        if one.scores[0] >= settings.min_score
        and mask_iou(one.mask_logits[0] > 0, found.mask) >= settings.min_agreement
    ]
    merged = coarse.copy()
    for found, _ in taken:
        merged[found.mask] = CLEARED_LOGIT
    for _, sharp in taken:
        np.maximum(merged, sharp, out=merged)
    return merged
