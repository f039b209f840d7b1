"""Detections of class names as boxes of the objects that some of the names mean."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from promptseg.ops.boxes import suppress_boxes
from promptseg.ops.masks import iterate_components

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


def box_regions(inside: NDArray[np.bool_], values: NDArray[Any], *, min_share: float) -> Boxes:
    """Find the boxes of a mask's connected regions, in shares of the sides; the scores are the mean values in them.

    Args:
        inside: The mask, bool, shape (h, w).
        values: Such as probabilities, shape (h, w).
        min_share: Regions with a smaller share of the largest region's area are left out.
    """
    height, width = inside.shape
    boxes, scores = [], []
    for (rows, columns), region in iterate_components(inside, min_share=min_share):
        boxes.append((columns.start / width, rows.start / height, columns.stop / width, rows.stop / height))
        scores.append(float(values[rows, columns][region].mean()))
    return Boxes(np.array(boxes, dtype=np.float64).reshape(-1, 4), np.array(scores, dtype=np.float64))
