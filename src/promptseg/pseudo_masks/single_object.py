"""The main object of an image that has a name but no box.

The promptable segmenter gets several prompts: boxes around the center, the box of everything that differs from a plain
background, and points near the center. The object that most prompts agree on is taken, if its score is high enough; an
image where they disagree is left out.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from promptseg.sam.base import PromptableSegmenter, SamEmbedding

# Shares of the image's sides.
BOX_SHARES = (0.96, 0.85, 0.7)
POINT_OFFSETS = ((0.0, 0.0), (-0.12, 0.0), (0.12, 0.0), (0.0, -0.12), (0.0, 0.12))
# A plain background: this share of the border is within this distance (of 255) of the border's median color.
BACKGROUND_TOLERANCE = 20
MIN_PLAIN_BORDER = 0.85
MIN_AREA_SHARE, MAX_AREA_SHARE = 0.02, 0.9
# A mask along more of the image's border than this may be the background, or a close-up.
MAX_BORDER_SHARE = 0.5
# Of 24 images with one true mask these keep half, at a mean IoU of .86; MIN_AGREEING = 3 kept an eighth.
AGREEMENT_IOU = 0.8
MIN_AGREEING = 2


@dataclass(frozen=True)
class MainObject:
    """The main object of an image.

    Attributes:
        mask: Shape (H, W), bool.
        score: Predicted IoU times the mean IoU with the candidates that agree.
        num_agreeing: Number of other candidates that agree.
    """

    mask: NDArray[np.bool_]
    score: float
    num_agreeing: int


def find_main_object(
    sam: PromptableSegmenter, embedding: SamEmbedding, image_rgb: NDArray[np.uint8]
) -> MainObject | None:
    """Segment the one object that an image shows.

    Args:
        sam: A promptable segmenter.
        embedding: Its embedding of the image.
        image_rgb: Shape (H, W, 3), uint8.

    Returns:
        The candidate with the most agreement; None where no candidate has the size and position of a main object.
    """
    masks, scores = _candidates(sam, embedding, image_rgb)
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
    """Return the box around everything that differs from a plain background, pixels; None where none is plain."""
    border = np.concatenate([image_rgb[0], image_rgb[-1], image_rgb[:, 0], image_rgb[:, -1]]).astype(np.int16)
    background = np.median(border, axis=0)
    if (np.abs(border - background).max(axis=1) <= BACKGROUND_TOLERANCE).mean() < MIN_PLAIN_BORDER:
        return None
    differs = np.abs(image_rgb.astype(np.int16) - background).max(axis=2) > BACKGROUND_TOLERANCE
    # A few pixels of noise in a row or column are not an object.
    rows, columns = np.flatnonzero(differs.sum(axis=1) > 2), np.flatnonzero(differs.sum(axis=0) > 2)
    if not len(rows) or not len(columns):
        return None
    return (float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1))


def _candidates(
    sam: PromptableSegmenter, embedding: SamEmbedding, image_rgb: NDArray[np.uint8]
) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
    height, width, _ = image_rgb.shape
    center = np.array([width / 2, height / 2])
    boxes = [np.concatenate([center * (1 - share), center * (1 + share)]) for share in BOX_SHARES]
    object_box = plain_background_box(image_rgb)
    if object_box is not None:
        boxes.append(np.array(object_box))
    points = center + np.array(POINT_OFFSETS) * (width, height)
    by_box = sam.segment(embedding, boxes_xyxy=np.stack(boxes).astype(np.float32))
    by_points = sam.segment(
        embedding,
        points_xy=points[None].astype(np.float32),
        point_labels=np.ones((1, len(points)), np.int64),
        choice="levels",
    )
    size_hw = (height, width)
    logits = np.concatenate([one.image_logits().reshape(-1, *size_hw) for one in (by_box, by_points)])
    return logits > 0, np.concatenate([by_box.scores.ravel(), by_points.scores.ravel()])


def _is_plausible(mask: NDArray[np.bool_]) -> bool:
    border = np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]])
    return bool(MIN_AREA_SHARE <= mask.mean() <= MAX_AREA_SHARE and border.mean() <= MAX_BORDER_SHARE)


def _pairwise_iou(masks: NDArray[np.bool_]) -> NDArray[np.float64]:
    flat = masks.reshape(len(masks), -1).astype(np.float32)
    intersections = (flat @ flat.T).astype(np.float64)
    areas = np.diag(intersections)
    ious: NDArray[np.float64] = intersections / np.maximum(areas[:, None] + areas[None] - intersections, 1)
    return ious
