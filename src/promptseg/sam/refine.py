"""Sharpen coarse masks: every connected object of one prompts a masker with its box, points and itself.

Source:
    Prompts of box, points and mask together as in Kirillov et al. 2023, "Segment Anything", arXiv:2304.02643.
    What is kept and what is not is ours.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from promptseg.ops.components import iterate_components
from promptseg.ops.inner_points import inner_points
from promptseg.sam.base import OUTSIDE_LOGIT, Frame, Masker, MaskerEmbedding
from promptseg.sam.prompt_batching import ObjectPrompt, mask_objects

# What a refined object left behind of its coarse self becomes: as surely outside as a masker says it, or else the edge
# between the two would move outwards.
CLEARED_LOGIT = -6.0


@dataclass(frozen=True)
class RefineSettings:
    """What the masker is told, and when it is believed.

    Attributes:
        min_score: The masker's own score below which the coarse object stays.
        min_agreement: IoU of refined and coarse object below which the coarse one stays: the masker then masked
            something else, or only a part.
        min_share: Objects smaller than this share of the largest stay as they are.
        coverage: The largest of the others are refined until they make up this share of their area; the rest stay too,
            for they cost as much time and hardly count.
        max_objects: Only so many of the largest objects of a map are refined.
        num_points: Points given with the box.
        with_mask: Whether the coarse mask is given too.
    """

    min_score: float = 0.6
    min_agreement: float = 0.5
    min_share: float = 0.05
    coverage: float = 0.9
    max_objects: int = 8
    num_points: int = 3
    with_mask: bool = True


DEFAULT_SETTINGS = RefineSettings()


@dataclass(frozen=True)
class _Object:
    """A connected object of a coarse map, in the cells of the map."""

    map_index: int
    mask: NDArray[np.bool_]
    box_xyxy: tuple[int, int, int, int]
    points_xy: NDArray[np.float64]


def refine(
    masker: Masker, embedding: MaskerEmbedding, coarse: Tensor, settings: RefineSettings = DEFAULT_SETTINGS
) -> Tensor:
    """Sharpen the masks of N queries on one image, all objects in one call of the masker.

    Args:
        masker: Any masker.
        embedding: Of this image.
        coarse: Logits over the whole image, shape (N, h, w) with (h, w) = `Frame.map_hw`; above 0 means object.
        settings: What the masker is told, and when it is believed.

    Returns:
        Logits of the same shape: refined objects, and the coarse map wherever the masker is not believed.
    """
    objects = [found for index, one in enumerate(coarse.numpy()) for found in _find_objects(index, one, settings)]
    prompts = [_prompt(found, coarse[found.map_index], embedding.frame, settings) for found in objects]
    refined = mask_objects(masker, embedding, prompts, choice="single")
    believed = [
        (found, masks.mask_logits[0])
        for found, masks in zip(objects, refined, strict=True)
        if masks.scores[0] >= settings.min_score
        and _iou(masks.mask_logits[0].numpy() > 0, found.mask) >= settings.min_agreement
    ]
    merged = coarse.clone()
    for found, _ in believed:
        merged[found.map_index][torch.from_numpy(found.mask)] = CLEARED_LOGIT
    for found, sharp in believed:
        one = merged[found.map_index]
        torch.maximum(one, sharp, out=one)
    return merged


def _find_objects(map_index: int, logits: NDArray[np.float32], settings: RefineSettings) -> Iterator[_Object]:
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
        yield _Object(map_index, mask, (columns.start, rows.start, columns.stop, rows.stop), points)


def _prompt(found: _Object, coarse: Tensor, frame: Frame, settings: RefineSettings) -> ObjectPrompt:
    """Ask for one object of a coarse map, shape (h, w)."""
    to_image = np.array(frame.original_hw[::-1]) / frame.map_hw[::-1]
    left, top, right, bottom = (np.array(found.box_xyxy) * np.tile(to_image, 2)).tolist()
    # Other objects of the same map are not this one.
    others = (coarse > 0) & ~torch.from_numpy(found.mask)
    return ObjectPrompt(
        found.points_xy * to_image,
        np.ones(len(found.points_xy), dtype=np.bool_),
        (left, top, right, bottom),
        coarse.masked_fill(others, OUTSIDE_LOGIT) if settings.with_mask else None,
    )


def _iou(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    return float((a & b).sum() / max(int((a | b).sum()), 1))
