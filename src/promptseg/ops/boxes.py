"""Compare boxes, and suppress boxes that overlap better ones."""

import numpy as np
from numpy.typing import NDArray


def pairwise_box_iou(boxes_xyxy: NDArray[np.floating], others_xyxy: NDArray[np.floating]) -> NDArray[np.float64]:
    """Compute the intersection over union of every pair of boxes.

    Args:
        boxes_xyxy: Shape (N, 4), right and bottom exclusive.
        others_xyxy: Shape (M, 4), right and bottom exclusive.

    Returns:
        Shape (N, M); 0 if neither box has an area.
    """
    boxes, others = np.asarray(boxes_xyxy, np.float64), np.asarray(others_xyxy, np.float64)
    # one axis after the other: a third axis of two numbers takes four times as long
    width, height = (
        (
            np.minimum(boxes[:, high, None], others[None, :, high])
            - np.maximum(boxes[:, low, None], others[None, :, low])
        )
        for low, high in ((0, 2), (1, 3))
    )
    shared = width.clip(min=0) * height.clip(min=0)
    union = box_areas(boxes)[:, None] + box_areas(others)[None] - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def box_areas(boxes_xyxy: NDArray[np.floating]) -> NDArray[np.float64]:
    """Compute the areas, shape (N,), of boxes, shape (N, 4)."""
    boxes = np.asarray(boxes_xyxy, np.float64)
    return (boxes[:, 2:] - boxes[:, :2]).clip(min=0).prod(axis=1)


def suppress_boxes(
    boxes_xyxy: NDArray[np.floating], scores: NDArray[np.floating], *, iou_threshold: float
) -> NDArray[np.int64]:
    """Keep the best boxes, and drop every one that overlaps a better kept one (non-maximum suppression).

    Args:
        boxes_xyxy: Shape (N, 4), right and bottom exclusive.
        scores: Shape (N,); of boxes with equal scores, the earlier is better.
        iou_threshold: Boxes with a larger IoU are dropped; in [0, 1].

    Returns:
        Indexes of the kept boxes, best first.
    """
    order = np.argsort(-np.asarray(scores, np.float64), kind="stable")
    boxes = np.asarray(boxes_xyxy, np.float64)
    kept = []
    while order.size:
        kept.append(order[0])
        rest = order[1:]
        order = rest[pairwise_box_iou(boxes[order[:1]], boxes[rest])[0] <= iou_threshold]
    return np.array(kept, dtype=np.int64)
