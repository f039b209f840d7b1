"""Select the detected objects of one image that a phrase may refer to."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from promptseg.detectors.box_selection import Boxes, select_boxes
from promptseg.language.reading import PhraseReading
from promptseg.models.promptseg.settings import DetectionSettings
from promptseg.ops.masks import iterate_components


@dataclass(frozen=True, eq=False)
class DetectedObjects:
    """Detections of one image.

    Attributes:
        detections: Shape (K, 4 + V), see `encoders.base.ImageTower.detect`.
        settings: Minimum scores for each use.
    """

    detections: NDArray[np.float32]
    settings: DetectionSettings

    def exact(self, reading: PhraseReading) -> Boxes:
        """Select the detections of a class that has the same meaning as the phrase.

        The class "car" matches "the cars", but not "red car" or "taxi", which do not describe every car, nor "vehicle",
        which also includes classes that the detector lacks.
        """
        return self._select(reading.exact_classes, self.settings.min_exact_score).first(self.settings.max_instances)

    def named(self, reading: PhraseReading) -> Boxes:
        """Select the detections of all classes that the phrase may describe."""
        return self._select(reading.any_classes, self.settings.min_score)

    def of_class(self, reading: PhraseReading) -> Boxes:
        """Select the detections of the classes that every object of the phrase belongs to: "car" also for "red car"."""
        return self._select(reading.kind_classes, self.settings.min_exact_score)

    def candidates(self, reading: PhraseReading) -> Boxes:
        """Select the candidates of a referring expression, with a lower minimum score."""
        found = self._select(reading.any_classes, self.settings.min_doubtful_score)
        return found or self._select(reading.any_classes, self.settings.min_hint_score)

    def _select(self, classes: tuple[int, ...], min_score: float) -> Boxes:
        return select_boxes(self.detections, classes, min_score=min_score)


def filled_boxes(boxes: Boxes, inside: NDArray[np.bool_], min_filled: float) -> Boxes:
    """Choose the boxes of which a mask fills at least a share; inside: bool, shape (h, w)."""
    height, width = inside.shape
    corners = (boxes.boxes_xyxy * (width, height, width, height)).round().astype(int).tolist()
    shares = [
        float(inside[top : max(bottom, top + 1), left : max(right, left + 1)].mean())
        for left, top, right, bottom in corners
    ]
    chosen = np.array(shares) >= min_filled
    return Boxes(boxes.boxes_xyxy[chosen], boxes.scores[chosen])


def regions_of(inside: NDArray[np.bool_], min_share: float) -> Boxes:
    """Find the boxes of a mask's connected regions; mask: bool, shape (h, w). Scores are the regions' image shares."""
    height, width = inside.shape
    boxes: list[tuple[float, float, float, float]] = []
    areas: list[float] = []
    for (rows, columns), region in iterate_components(inside, min_share=min_share):
        boxes.append((columns.start / width, rows.start / height, columns.stop / width, rows.stop / height))
        areas.append(float(region.sum()) / inside.size)
    return Boxes(np.array(boxes, dtype=np.float64).reshape(-1, 4), np.array(areas, dtype=np.float64))
