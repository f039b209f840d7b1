"""Words propose, clicks correct: what becomes of a coarse map where a query also has points, boxes or masks."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from promptseg.ops.components import tight_box
from promptseg.sam.base import OUTSIDE_LOGIT, Frame, Masker, MaskerEmbedding
from promptseg.sam.geometric_prompts import Box, Pointing, inside_box, prompt_with_mask, with_points
from promptseg.sam.prompt_batching import ObjectPrompt, mask_objects
from promptseg.sam.refine import CLEARED_LOGIT

_EIGHT_NEIGHBORS = np.ones((3, 3), dtype=bool)
# A box shows an object of the map where the map fills at least this share of it; else it adds one.
MIN_FILLED_SHARE = 0.1
# A point lies on an object of the map, whose edges are rough, up to so many cells beside it.
NEAR_CELLS = 3.0
# What lies under a point beside the object takes the whole object away where it is at least this share of it.
WHOLE_SHARE = 0.5


@dataclass(frozen=True, eq=False)
class Correction:
    """What is left to do for one query.

    Attributes:
        coarse: Objects of the words that no click chose, as logits of shape (h, w), above 0 inside; None: none is left.
        removed: What the clicks took away, bool, shape (h, w).
        objects: What the clicks chose or added, for the masker to draw.
    """

    coarse: Tensor | None
    removed: Tensor
    objects: tuple[ObjectPrompt, ...]


def correct(coarse: Tensor, pointing: Pointing, masker: Masker, embedding: MaskerEmbedding) -> Correction:
    """Apply the clicks of one query to what its words propose.

    A mask restricts the words to it; one of an earlier answer stands instead of them. Boxes and points on the object
    choose the objects that they lie in; where none is chosen, all stay. Those that lie in none add one. Points beside
    the object are told to the masker with every object that is chosen or added; of the others they take away what lies
    under them.

    Args:
        coarse: What the words propose, logits of shape `Frame.map_hw`, above 0 inside.
        pointing: What the same query points with.
        masker: Says what lies under a point.
        embedding: Of the image.
    """
    frame = embedding.frame
    coarse = _restrict(coarse, pointing, frame)
    labels, _ = ndimage.label((coarse > 0).numpy(), structure=_EIGHT_NEIGHBORS)
    label_at = _labels_near(labels, _cells(pointing.points_xy, frame))
    free = pointing.on_object.copy()
    chosen, added = [], []
    for box_xyxy in pointing.boxes_xyxy:
        inside = inside_box(pointing.points_xy, box_xyxy)
        free &= ~inside
        shown = _within(coarse, box_xyxy, frame)
        if shown is None:
            added.append(with_points(pointing, inside & pointing.on_object, box_xyxy=box_xyxy))
        else:
            own = inside & pointing.on_object
            chosen.append(prompt_with_mask(shown, pointing, own, frame, box_xyxy=box_xyxy))
    for label in np.unique(label_at[free & (label_at > 0)]):
        alone = coarse.masked_fill(torch.from_numpy((labels > 0) & (labels != label)), OUTSIDE_LOGIT)
        own = free & (label_at == label)
        chosen.append(prompt_with_mask(alone, pointing, own, frame, box_xyxy=_box_of(labels == label, frame)))
    missed = free & (label_at == 0)
    if missed.any():
        added.append(with_points(pointing, missed))
    removed = torch.zeros(coarse.shape, dtype=torch.bool)
    if chosen:
        return Correction(None, removed, (*chosen, *added))
    for label in np.unique(label_at[~pointing.on_object & (label_at > 0)]):
        inside = labels == label
        for under in _under(pointing.points_xy[~pointing.on_object & (label_at == label)], masker, embedding):
            is_whole = (under & inside).sum() >= WHOLE_SHARE * inside.sum()
            removed |= torch.from_numpy(inside if is_whole else under & inside)
    coarse = coarse.masked_fill(removed, CLEARED_LOGIT)
    return Correction(coarse if bool((coarse > 0).any()) else None, removed, tuple(added))


def _restrict(coarse: Tensor, pointing: Pointing, frame: Frame) -> Tensor:
    mask_logits = pointing.coarse_logits(frame.map_hw)
    if mask_logits is None:
        return coarse
    if any(mask.logits is not None for mask in pointing.masks):
        return mask_logits
    shared = torch.minimum(coarse, mask_logits)
    return shared if bool((shared > 0).any()) else mask_logits


def _cells(points_xy: NDArray[np.float64], frame: Frame) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The cells of the map that points lie in, (rows, columns)."""
    cells_xy = points_xy * frame.map_hw[::-1] / frame.original_hw[::-1]
    columns, rows = np.minimum(cells_xy.astype(np.int64), np.array(frame.map_hw[::-1]) - 1).T
    return rows, columns


def _labels_near(labels: NDArray[np.int32], cells: tuple[NDArray[np.int64], NDArray[np.int64]]) -> NDArray[np.int32]:
    """The object that each cell lies on, or nearly; 0 where there is none."""
    if not labels.any():
        return np.zeros(len(cells[0]), dtype=np.int32)
    distance, (rows, columns) = ndimage.distance_transform_edt(labels == 0, return_indices=True)
    nearest: NDArray[np.int32] = labels[rows[cells], columns[cells]]
    return np.where(distance[cells] <= NEAR_CELLS, nearest, 0)


def _within(coarse: Tensor, box_xyxy: Box, frame: Frame) -> Tensor | None:
    """What a map shows in a box, and nothing outside; None where that is too little."""
    scale = np.tile(np.array(frame.map_hw[::-1]) / frame.original_hw[::-1], 2)
    left, top, right, bottom = (np.array(box_xyxy) * scale).round().astype(int).tolist()
    window = (slice(top, max(bottom, top + 1)), slice(left, max(right, left + 1)))
    if not bool((coarse[window] > 0).float().mean() >= MIN_FILLED_SHARE):
        return None
    shown = torch.full_like(coarse, OUTSIDE_LOGIT)
    shown[window] = coarse[window]
    return shown


def _box_of(inside: NDArray[np.bool_], frame: Frame) -> Box:
    scale = np.tile(np.array(frame.original_hw[::-1]) / frame.map_hw[::-1], 2)
    left, top, right, bottom = (np.array(tight_box(inside)) * scale).tolist()
    return left, top, right, bottom


def _under(points_xy: NDArray[np.float64], masker: Masker, embedding: MaskerEmbedding) -> Sequence[NDArray[np.bool_]]:
    """What the masker sees under each point, bool, shape (h, w)."""
    prompts = [ObjectPrompt(point_xy[None], np.ones(1, dtype=np.bool_)) for point_xy in points_xy]
    return [(found.mask_logits[0] > 0).numpy() for found in mask_objects(masker, embedding, prompts)]
