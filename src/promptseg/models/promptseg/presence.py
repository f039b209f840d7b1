"""Weigh the evidence that the object of a phrase is in an image: its map, its detections, and the classes of parts.

Shapes: K classes, h w cells, P parts of the image.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from promptseg.language.reading import PhraseReading
from promptseg.models.promptseg.config import PromptSegConfig
from promptseg.models.promptseg.settings import PresenceWeights
from promptseg.ops.resize import logit

Floats = NDArray[np.float32]
EvidenceKind = Literal[
    "trained",
    "trained_and_classified",
    "detected",
    "detected_and_classified",
    "untrained",
    "untrained_and_classified",
    "person_kind",
]


@dataclass(frozen=True)
class PresenceEvidence:
    """Evidence for one phrase in one image.

    Attributes:
        map_logit: Presence logit of the phrase's map.
        detection_logit: Logit of the best detection score; None: the detector has no class for the phrase.
        class_logit: Logit of the highest probability of the phrase's classes in a part of the image; None: the
            classifier has no class for the phrase.
        people_logit: For a kind of person, logit of the best score of a detected person times the probability that the
            person is of the kind; it takes the place of the other two. None: the phrase means no kind of person.
    """

    map_logit: float
    detection_logit: float | None = None
    class_logit: float | None = None
    people_logit: float | None = None

    def weigh(self, config: PromptSegConfig, *, is_trained: bool) -> float:
        """Compute the presence logit, before calibration.

        Args:
            config: Weights of the evidence.
            is_trained: Whether the model was trained on the name; if not, its map is mostly that of a hypernym.
        """
        detection, classes = self.detection_logit or 0.0, self.class_logit or 0.0
        if self.people_logit is not None:
            detection, classes = self.people_logit, 0.0
        if config.classifier is not None:
            weights: PresenceWeights = getattr(config.classifier, self.kind(is_trained=is_trained))
            return (
                weights.map * self.map_logit + weights.detection * detection + weights.classes * classes + weights.shift
            )
        if config.detection_evidence is None or self.detection_logit is None:
            return self.map_logit
        scale, shift = config.detection_evidence
        return self.map_logit + scale * detection + shift

    def kind(self, *, is_trained: bool) -> EvidenceKind:
        """Name the kind of evidence at hand, as the fields of `ClassifierSettings` do."""
        if self.people_logit is not None:
            return "person_kind"
        if self.detection_logit is not None:
            return "detected" if self.class_logit is None else "detected_and_classified"
        if is_trained:
            return "trained" if self.class_logit is None else "trained_and_classified"
        return "untrained" if self.class_logit is None else "untrained_and_classified"


def classify_parts(class_logits: Floats, window_cells: int) -> Floats:
    """Compute class probabilities for parts of an image: square windows, and the whole.

    Args:
        class_logits: Shape (K, h, w), see `ImageClassifier.classify`.
        window_cells: Side of the windows, cells.

    Returns:
        Shape (K, P).
    """
    whole = class_logits.mean(axis=(1, 2))[:, None]
    windows = np.lib.stride_tricks.sliding_window_view(
        class_logits, tuple(min(window_cells, side) for side in class_logits.shape[1:]), axis=(1, 2)
    )
    parts = np.concatenate([windows.mean(axis=(3, 4)).reshape(len(class_logits), -1), whole], axis=1)
    odds = np.exp(parts - parts.max(axis=0))
    probabilities: Floats = odds / odds.sum(axis=0)
    return probabilities


def class_logit(parts: Floats, reading: PhraseReading, *, least_probability: float) -> float | None:
    """Return the logit of the highest probability of a phrase's classes in any part; None if it has no classes.

    Args:
        parts: From `classify_parts`.
        reading: Reading of the phrase.
        least_probability: The probability is clipped to the range from this value to 1 minus it.
    """
    if not reading.imagenet_classes:
        return None
    probability = float(parts[list(reading.imagenet_classes)].sum(axis=0).max())
    return logit(min(max(probability, least_probability), 1.0 - least_probability))
