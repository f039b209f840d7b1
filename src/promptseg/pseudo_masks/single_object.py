"""The main object of an image that has a name but no place.

Several prompts that a person might try first are given to the masker: boxes around the middle, the box of what differs
from a plain background, points in the middle. An object that most of them find alike, and that the masker is sure of,
is taken; an image where they disagree is left out.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from promptseg.sam.base import Masker, MaskerEmbedding

# Shares of the image's sides.
BOX_SHARES = (0.96, 0.85, 0.7)
POINT_OFFSETS = ((0.0, 0.0), (-0.12, 0.0), (0.12, 0.0), (0.0, -0.12), (0.0, 0.12))
# Background: the border's median color, this near to it (of 255), on this share of the border.
BACKGROUND_TOLERANCE = 20
MIN_PLAIN_BORDER = 0.85
MIN_AREA_SHARE, MAX_AREA_SHARE = 0.02, 0.9
# A mask that runs along more of the image's border than this is the background, or a close-up: no telling.
MAX_BORDER_SHARE = 0.5
# Of 24 images with one true mask these keep half, at a mean IoU of .86; MIN_AGREEING = 3 kept an eighth.
AGREEMENT_IOU = 0.8
MIN_AGREEING = 2


@dataclass(frozen=True)
class MainObject:
    """What was found.

    Attributes:
        mask: bool, (H, W).
        score: The masker's score times the mean IoU with the candidates that agree.
        num_agreeing: How many other candidates agree.
    """

    mask: NDArray[np.bool_]
    score: float
    num_agreeing: int


def find_main_object(masker: Masker, embedding: MaskerEmbedding, image_rgb: NDArray[np.uint8]) -> MainObject | None:
    """Mask the one object that an image shows.

    Args:
        masker: Any masker.
        embedding: Of this image.
        image_rgb: (H, W, 3) uint8.

    Returns:
        The candidate that the others agree with most; None where none has the size and place of a main object.
    """
    masks, scores = _candidates(masker, embedding, image_rgb)
    plausible = [index for index, mask in enumerate(masks) if _is_plausible(mask)]
    if not plausible:
        return None
    masks, scores = masks[plausible], scores[plausible]
    ious = _pairwise_iou(masks)
    np.fill_diagonal(ious, 0)
    agreeing = ious >= AGREEMENT_IOU
    support = (ious * agreeing).sum(axis=1)
    best = int(np.argmax(support * scores))
    num_agreeing = int(agreeing[best].sum())
    agreement = float(support[best]) / num_agreeing if num_agreeing else 0.0
    return MainObject(masks[best], float(scores[best]) * agreement, num_agreeing)


def plain_background_box(image_rgb: NDArray[np.uint8]) -> tuple[float, float, float, float] | None:
    """The box around everything that differs from a plain background, pixels; None where the border is not plain."""
    border = np.concatenate([image_rgb[0], image_rgb[-1], image_rgb[:, 0], image_rgb[:, -1]]).astype(np.int16)
    background = np.median(border, axis=0)
    if (np.abs(border - background).max(axis=1) <= BACKGROUND_TOLERANCE).mean() < MIN_PLAIN_BORDER:
        return None
    differs = np.abs(image_rgb.astype(np.int16) - background).max(axis=2) > BACKGROUND_TOLERANCE
    # A few pixels of noise in a row or column are no object.
    rows, columns = np.flatnonzero(differs.sum(axis=1) > 2), np.flatnonzero(differs.sum(axis=0) > 2)
    if not len(rows) or not len(columns):
        return None
    return (float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1))


def _candidates(
    masker: Masker, embedding: MaskerEmbedding, image_rgb: NDArray[np.uint8]
) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
    height, width, _ = image_rgb.shape
    center = np.array([width / 2, height / 2])
    boxes = [np.concatenate([center * (1 - share), center * (1 + share)]) for share in BOX_SHARES]
    object_box = plain_background_box(image_rgb)
    if object_box is not None:
        boxes.append(np.array(object_box))
    points = center + np.array(POINT_OFFSETS) * (width, height)
    by_box = masker.segment(embedding, boxes_xyxy=_tensor(np.stack(boxes)))
    by_points = masker.segment(
        embedding, points_xy=_tensor(points[None]), point_labels=torch.ones(1, len(points)), choice="levels"
    )
    logits: Tensor = torch.cat([by_box.image_logits().flatten(0, 1), by_points.image_logits().flatten(0, 1)])
    scores = torch.cat([by_box.scores.flatten(), by_points.scores.flatten()])
    return (logits > 0).numpy(), scores.numpy()


def _tensor(array: NDArray[np.floating]) -> Tensor:
    return torch.from_numpy(array.astype(np.float32))


def _is_plausible(mask: NDArray[np.bool_]) -> bool:
    border = np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]])
    return bool(MIN_AREA_SHARE <= mask.mean() <= MAX_AREA_SHARE and border.mean() <= MAX_BORDER_SHARE)


def _pairwise_iou(masks: NDArray[np.bool_]) -> NDArray[np.float64]:
    flat = masks.reshape(len(masks), -1).astype(np.float32)
    intersections = (flat @ flat.T).astype(np.float64)
    areas = np.diag(intersections)
    ious: NDArray[np.float64] = intersections / np.maximum(areas[:, None] + areas[None] - intersections, 1)
    return ious
