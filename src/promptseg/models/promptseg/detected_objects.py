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

    def candidates(self, reading: PhraseReading) -> Boxes:
        """Select the candidates of a referring expression, with a lower minimum score."""
        found = self._select(reading.any_classes, self.settings.min_doubtful_score)
        return found or self._select(reading.any_classes, self.settings.min_hint_score)

    def _select(self, classes: tuple[int, ...], min_score: float) -> Boxes:
        return select_boxes(self.detections, classes, min_score=min_score)


def regions_of(inside: NDArray[np.bool_], min_share: float) -> Boxes:
    """Find the boxes of a mask's connected regions; mask: bool, shape (h, w). Scores are the regions' image shares."""
    height, width = inside.shape
    boxes: list[tuple[float, float, float, float]] = []
    areas: list[float] = []
    for (rows, columns), region in iterate_components(inside, min_share=min_share):
        boxes.append((columns.start / width, rows.start / height, columns.stop / width, rows.stop / height))
        areas.append(float(region.sum()) / inside.size)
    return Boxes(np.array(boxes, dtype=np.float64).reshape(-1, 4), np.array(areas, dtype=np.float64))
