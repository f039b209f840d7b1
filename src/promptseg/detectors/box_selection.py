"""Detections of class names as boxes of the objects that some of the names mean."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from promptseg.ops.boxes import suppress_boxes

Cell = TypeVar("Cell", np.float32, np.bool_)

# Boxes of one name that overlap more are of one object.
MAX_BOX_IOU = 0.6


@dataclass(frozen=True, eq=False)
class Boxes:
    """Detected objects, the best scored first.

    Attributes:
        boxes_xyxy: In shares of the image's sides, inside it, shape (M, 4).
        scores: In [0, 1], shape (M,).
    """

    boxes_xyxy: NDArray[np.float64]
    scores: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.scores)

    def first(self, number: int) -> "Boxes":
        """Keep the surest ones."""
        return Boxes(self.boxes_xyxy[:number], self.scores[:number])


def select_boxes(detections: NDArray[np.float32], name_index: Sequence[int], *, min_score: float) -> Boxes:
    """Choose the detected objects of some names; of boxes that show the same object the best scored stays.

    Args:
        detections: Of one image, shape (K, 4 + V): boxes in shares of the image's sides, and the score of each of the V
            names.
        name_index: Which of the V names.
        min_score: In [0, 1].
    """
    boxes = detections[:, :4].astype(np.float64).clip(0.0, 1.0)
    scores = detections[:, 4:][:, list(name_index)].astype(np.float64)
    best = scores.max(axis=1, initial=-1.0)
    has_area = (boxes[:, 2:] - boxes[:, :2]).min(axis=1, initial=1.0) > 1e-3
    chosen = np.flatnonzero((best >= min_score) & has_area)
    kept = chosen[suppress_boxes(boxes[chosen], best[chosen], iou_threshold=MAX_BOX_IOU)]
    return Boxes(boxes[kept], best[kept])


def cells_inside(cells: NDArray[Cell], box_xyxy: NDArray[np.float64]) -> NDArray[Cell]:
    """Cut the cells that a box touches out of a map over the image, shape (h, w): a view.

    Args:
        cells: The map.
        box_xyxy: In shares of the image's sides, shape (4,).
    """
    height, width = cells.shape
    left, top = int(box_xyxy[0] * width), int(box_xyxy[1] * height)
    right, bottom = int(np.ceil(box_xyxy[2] * width)), int(np.ceil(box_xyxy[3] * height))
    return cells[min(top, height - 1) : max(bottom, top + 1), min(left, width - 1) : max(right, left + 1)]
