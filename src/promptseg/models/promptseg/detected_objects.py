"""Select the detected objects of one image that a phrase may refer to."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from promptseg.detectors.box_selection import Boxes, select_boxes
from promptseg.language.reading import PhraseReading
from promptseg.models.promptseg.coarse import CoarseImage
from promptseg.models.promptseg.settings import DetectionSettings, PipelineSettings
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

    def named(self, reading: PhraseReading) -> Boxes:
        """Select the detections of all classes that the phrase may describe."""
        return self._select(reading.any_classes, self.settings.min_score)

    def exact(self, reading: PhraseReading) -> Boxes:
        """Select the detections of a class that has the same meaning as the phrase.

        The class "car" matches "the cars", but not "red car" or "taxi", which do not describe every car, nor "vehicle",
        which also includes classes that the detector lacks.
        """
        return self._select(reading.exact_classes, self.settings.min_exact_score)

    def of_class(self, reading: PhraseReading) -> Boxes:
        """Select the detections of the classes that every object of the phrase belongs to: "car" also for "red car"."""
        return self._select(reading.kind_classes, self.settings.min_exact_score)

    def candidates(self, reading: PhraseReading) -> Boxes:
        """Select the candidates of a referring expression, with a lower minimum score."""
        found = self._select(reading.any_classes, self.settings.min_doubtful_score)
        return found or self._select(reading.any_classes, self.settings.min_hint_score)

    def _select(self, classes: tuple[int, ...], min_score: float) -> Boxes:
        return select_boxes(self.detections, classes, min_score=min_score)


def select_objects(
    reading: PhraseReading, image: CoarseImage, inside: NDArray[np.bool_], settings: PipelineSettings
) -> Boxes:
    """Choose the detections that a phrase means.

    These are the detections of a class of the same meaning, if they are sure or the phrase's map fills them; or the
    people who look like the phrase's kind; or the detections of the kind's class that the phrase's map fills.

    Args:
        reading: Reading of the phrase.
        image: The image.
        inside: The phrase's map, above its threshold, shape (h, w).
        settings: Minimum scores and shares.

    Returns:
        Best first, at most `max_instances`; none if the detector has no class for the phrase, or found none of it.
    """
    people = find_people_of_kind(reading, image, settings)
    if people is not None:
        return people
    if image.detections is None:
        return Boxes(np.zeros((0, 4)), np.zeros(0))
    detected = DetectedObjects(image.detections, settings.detection)
    if reading.exact_classes:
        least = settings.detection
        found = filled_boxes(detected.exact(reading), inside, least.min_filled, sure_score=least.sure_score)
    else:
        found = filled_boxes(detected.of_class(reading), inside, settings.kinds.min_filled)
    return found.first(settings.detection.max_instances)


def find_people_of_kind(reading: PhraseReading, image: CoarseImage, settings: PipelineSettings) -> Boxes | None:
    """Choose the people of the phrase's kind; None if it means no kind of person, or nobody is detected."""
    if reading.person_kind is None or image.people is None:
        return None
    return image.people.get().of_kind(reading.person_kind, min_probability=settings.kinds.min_probability) or None


def filled_boxes(
    boxes: Boxes, inside: NDArray[np.bool_], min_filled: float, *, sure_score: float = float("inf")
) -> Boxes:
    """Choose the boxes of which a mask fills at least a share, and those that are sure; inside: bool, shape (h, w)."""
    height, width = inside.shape
    corners = (boxes.boxes_xyxy * (width, height, width, height)).round().astype(int).tolist()
    shares = [
        float(inside[top : max(bottom, top + 1), left : max(right, left + 1)].mean())
        for left, top, right, bottom in corners
    ]
    chosen = (np.array(shares) >= min_filled) | (boxes.scores >= sure_score)
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
