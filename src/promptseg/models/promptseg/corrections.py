"""Correct the coarse map of a phrase by the points, boxes and masks of the same query.

Maps are logits of shape (h, w) = `Frame.map_hw`, above 0 inside.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from promptseg.models.promptseg.settings import CorrectionSettings
from promptseg.ops.masks import label_components, nearest_labels, tight_box
from promptseg.sam.base import OUTSIDE_LOGIT, Frame, PromptableSegmenter, SamEmbedding
from promptseg.sam.geometric_prompts import Box, GeometricPrompts, inside_box, prompt_with_mask, with_points
from promptseg.sam.prompt_batching import ObjectPrompt, mask_objects
from promptseg.sam.refine import CLEARED_LOGIT

Map = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Correction:
    """The corrected map of one query, and the objects for SAM.

    Attributes:
        coarse: Map of the remaining objects of the phrase; None: none remains, or the clicks chose among them.
        removed: Pixels that the clicks removed, bool, shape (h, w).
        objects: Objects that the clicks chose or added, for SAM to segment.
    """

    coarse: Map | None
    removed: NDArray[np.bool_]
    objects: tuple[ObjectPrompt, ...]


def correct(
    coarse: Map,
    pointed: GeometricPrompts,
    sam: PromptableSegmenter,
    embedding: SamEmbedding,
    settings: CorrectionSettings,
) -> Correction:
    """Apply the clicks of one query to the coarse map of its phrase.

    A mask prompt restricts the map; the mask of an earlier result replaces it. Boxes and positive points choose the
    objects that they lie on; if they choose none, all objects remain. A box or positive point that lies on no object
    adds one. Negative points are passed to SAM with every object that is chosen or added; from the other objects they
    remove the part under the point.

    Args:
        coarse: The map of the phrase.
        pointed: Points, boxes and masks of the same query.
        sam: Segments the parts under negative points.
        embedding: SAM's embedding of the image.
        settings: Thresholds that assign a prompt to an object.
    """
    frame = embedding.frame
    coarse = _restrict(coarse, pointed, frame)
    labels, _ = label_components(coarse > 0)
    label_at = nearest_labels(labels, _cells(pointed.points_xy, frame), max_distance=settings.near_cells)
    free = pointed.on_object.copy()
    chosen, added = [], []
    for box_xyxy in pointed.boxes_xyxy:
        inside = inside_box(pointed.points_xy, box_xyxy)
        free &= ~inside
        own = inside & pointed.on_object
        shown = _within(coarse, box_xyxy, frame, settings.min_filled_share)
        if shown is None:
            added.append(with_points(pointed, own, box_xyxy=box_xyxy))
        else:
            chosen.append(prompt_with_mask(shown, pointed, own, frame, box_xyxy=box_xyxy))
    for label in np.unique(label_at[free & (label_at > 0)]):
        alone = np.where((labels > 0) & (labels != label), np.float32(OUTSIDE_LOGIT), coarse)
        own = free & (label_at == label)
        chosen.append(prompt_with_mask(alone, pointed, own, frame, box_xyxy=_box_of(labels == label, frame)))
    missed = free & (label_at == 0)
    if missed.any():
        added.append(with_points(pointed, missed))
    removed = np.zeros(coarse.shape, dtype=np.bool_)
    if chosen:
        return Correction(None, removed, (*chosen, *added))
    for label in np.unique(label_at[~pointed.on_object & (label_at > 0)]):
        inside = labels == label
        for under in _under(pointed.points_xy[~pointed.on_object & (label_at == label)], sam, embedding):
            is_whole = (under & inside).sum() >= settings.whole_share * inside.sum()
            removed |= inside if is_whole else under & inside
    coarse = np.where(removed, np.float32(CLEARED_LOGIT), coarse)
    return Correction(coarse if (coarse > 0).any() else None, removed, tuple(added))


def _restrict(coarse: Map, pointed: GeometricPrompts, frame: Frame) -> Map:
    mask_logits = pointed.coarse_logits(frame.map_hw)
    if mask_logits is None:
        return coarse
    if any(mask.logits is not None for mask in pointed.masks):
        return mask_logits
    shared = np.minimum(coarse, mask_logits)
    return shared if (shared > 0).any() else mask_logits


def _cells(points_xy: NDArray[np.float64], frame: Frame) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Find the cells of the map that K points, shape (K, 2), lie in: rows and columns, each of shape (K,)."""
    cells_xy = points_xy * frame.map_hw[::-1] / frame.original_hw[::-1]
    columns, rows = np.minimum(cells_xy.astype(np.int64), np.array(frame.map_hw[::-1]) - 1).T
    return rows, columns


def _within(coarse: Map, box_xyxy: Box, frame: Frame, min_filled_share: float) -> Map | None:
    """Cut a map off outside a box; None if the mask fills too little of the box."""
    scale = np.tile(np.array(frame.map_hw[::-1]) / frame.original_hw[::-1], 2)
    left, top, right, bottom = (np.array(box_xyxy) * scale).round().astype(int).tolist()
    window = (slice(top, max(bottom, top + 1)), slice(left, max(right, left + 1)))
    if not (coarse[window] > 0).mean() >= min_filled_share:
        return None
    shown = np.full_like(coarse, OUTSIDE_LOGIT)
    shown[window] = coarse[window]
    return shown


def _box_of(inside: NDArray[np.bool_], frame: Frame) -> Box:
    scale = np.tile(np.array(frame.original_hw[::-1]) / frame.map_hw[::-1], 2)
    left, top, right, bottom = (np.array(tight_box(inside)) * scale).tolist()
    return left, top, right, bottom


def _under(
    points_xy: NDArray[np.float64], sam: PromptableSegmenter, embedding: SamEmbedding
) -> Sequence[NDArray[np.bool_]]:
    """Segment the part under each of K points, shape (K, 2), with SAM: K masks, bool, shape (h, w)."""
    prompts = [ObjectPrompt(point_xy[None], np.ones(1, dtype=np.bool_)) for point_xy in points_xy]
    return [found.mask_logits[0] > 0 for found in mask_objects(sam, embedding, prompts)]
