"""Sharpen coarse masks: every connected object of one prompts a masker with its box, points and itself.

Source:
    Prompts of box, points and mask together as in Kirillov et al. 2023, "Segment Anything", arXiv:2304.02643.
    What is kept and what is not is ours.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from promptseg.maskers.base import OUTSIDE_LOGIT, Frame, Masker, MaskerEmbedding
from promptseg.ops.components import iterate_components

# Coarse logits beyond this say no more to the mask prompt encoder.
MAX_PROMPT_LOGIT = 8.0
# What a refined object left behind of its coarse self becomes: surely under the edge, whatever it was.
CLEARED_LOGIT = -2.0


@dataclass(frozen=True)
class RefineSettings:
    """What the masker is told, and when it is believed.

    Attributes:
        threshold: Probability above which the coarse mask says object.
        min_score: The masker's own score below which the coarse object stays.
        min_agreement: IoU of refined and coarse object below which the coarse one stays: the masker then masked
            something else, or only a part.
        min_share: Objects smaller than this share of the largest stay as they are.
        max_objects: Only so many of the largest objects of a map are refined.
        num_points: Points given with the box.
        with_mask: Whether the coarse mask is given too.
    """

    threshold: float = 0.5
    min_score: float = 0.6
    min_agreement: float = 0.5
    min_share: float = 0.05
    max_objects: int = 8
    num_points: int = 3
    with_mask: bool = True


DEFAULT_SETTINGS = RefineSettings()


@dataclass(frozen=True)
class _Object:
    """A connected object of a coarse map, in the pixels of the map."""

    map_index: int
    mask: NDArray[np.bool_]
    box_xyxy: tuple[int, int, int, int]
    points_xy: NDArray[np.float64]


def refine(
    masker: Masker, embedding: MaskerEmbedding, probability: Tensor, settings: RefineSettings = DEFAULT_SETTINGS
) -> Tensor:
    """Sharpen the masks of N queries on one picture, all objects in one call of the masker.

    Args:
        masker: Any masker.
        embedding: Of this picture.
        probability: Coarse probabilities (N, h, w) over the whole picture, at any resolution.
        settings: What the masker is told, and when it is believed.

    Returns:
        Mask logits (N, h', w') over the whole picture at the masker's resolution, to be compared with the same
        threshold: refined objects, and the coarse map wherever the masker is not believed.
    """
    size_hw = _map_size(embedding.frame)
    edge = math.log(settings.threshold / (1 - settings.threshold))
    coarse = F.interpolate(torch.logit(probability.float(), eps=1e-4)[None] - edge, size_hw, mode="bilinear")[0]
    objects = [found for index, one in enumerate(coarse.numpy()) for found in _find_objects(index, one, settings)]
    if not objects:
        return coarse + edge
    sharp, scores = _prompt(masker, embedding, coarse, objects, settings)
    merged = coarse.clone()
    believed = [
        index
        for index, found in enumerate(objects)
        if scores[index] >= settings.min_score and _iou(sharp[index].numpy() > 0, found.mask) >= settings.min_agreement
    ]
    for index in believed:
        found = objects[index]
        merged[found.map_index][torch.from_numpy(found.mask)] = CLEARED_LOGIT
    for index in believed:
        one = merged[objects[index].map_index]
        torch.maximum(one, sharp[index], out=one)
    return merged + edge


def _map_size(frame: Frame) -> tuple[int, int]:
    """The resolution at which the masker sees the picture's masks: a quarter of the canvas's."""
    height, width = frame.original_hw
    scale_x, scale_y = frame.scale_xy
    return max(1, round(height * scale_y / 4)), max(1, round(width * scale_x / 4))


def _find_objects(map_index: int, logits: NDArray[np.float32], settings: RefineSettings) -> Iterator[_Object]:
    components = sorted(
        iterate_components(logits > 0, min_share=settings.min_share), key=lambda found: -int(found[1].sum())
    )
    for (rows, columns), inside in components[: settings.max_objects]:
        mask = np.zeros(logits.shape, dtype=bool)
        mask[rows, columns] = inside
        points = np.add(_inner_points(inside, settings.num_points), (columns.start, rows.start))
        yield _Object(map_index, mask, (columns.start, rows.start, columns.stop, rows.stop), points)


def _inner_points(inside: NDArray[np.bool_], num_points: int) -> NDArray[np.float64]:
    """Choose points (num_points, 2), x then y, deep inside an object and far from each other."""
    depth = ndimage.distance_transform_edt(np.pad(inside, 1))[1:-1, 1:-1]
    y, x = np.indices(inside.shape) + 0.5
    weight = depth
    points = np.zeros((num_points, 2))
    for index in range(num_points):
        best = np.unravel_index(np.argmax(weight), inside.shape)
        points[index] = x[best], y[best]
        away = np.min([np.hypot(x - px, y - py) for px, py in points[: index + 1]], axis=0)
        weight = depth * away
    return points


def _prompt(
    masker: Masker,
    embedding: MaskerEmbedding,
    coarse: Tensor,
    objects: Sequence[_Object],
    settings: RefineSettings,
) -> tuple[Tensor, list[float]]:
    """Prompt the masker with objects (K); mask logits (K, h, w) of the coarse maps' size, and scores."""
    frame = embedding.frame
    map_hw = (coarse.shape[1], coarse.shape[2])
    to_picture = torch.tensor([frame.original_hw[1] / map_hw[1], frame.original_hw[0] / map_hw[0]])
    points_xy = point_labels = mask_logits = None
    if settings.num_points:
        points_xy = torch.from_numpy(np.stack([found.points_xy for found in objects])).float() * to_picture
        point_labels = torch.ones(points_xy.shape[:2])
    if settings.with_mask:
        masks = torch.from_numpy(np.stack([found.mask for found in objects]))
        # Other objects of the same map are not this one.
        others = (coarse > 0)[[found.map_index for found in objects]] & ~masks
        told = coarse[[found.map_index for found in objects]].masked_fill(others, OUTSIDE_LOGIT)
        canvas_hw = (frame.canvas_hw[0] // 4, frame.canvas_hw[1] // 4)
        mask_logits = frame.maps_to_canvas(told.clamp(-MAX_PROMPT_LOGIT, MAX_PROMPT_LOGIT), canvas_hw)
    output = masker.segment(
        embedding,
        points_xy=points_xy,
        point_labels=point_labels,
        boxes_xyxy=torch.tensor([found.box_xyxy for found in objects]).float() * to_picture.repeat(2),
        mask_logits=mask_logits,
    )
    return frame.maps_to_picture(output.mask_logits[:, 0], map_hw), output.scores[:, 0].tolist()


def _iou(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    return float((a & b).sum() / max(int((a | b).sum()), 1))
