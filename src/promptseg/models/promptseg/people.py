"""Tell kinds of detected people apart: women and men, children and adults, by what a classifier says of their heads.

The network itself was trained on "person" only, so its maps of "woman" and "man" are the same. The features of a person
are the logits of ImageNet's 1,000 classes for the upper part of the box; none of them says much alone. Two linear
functions of them were fitted on captions by lab/fit_people.py.

Shapes: M people, K classes, V names of the detector.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources

import numpy as np
from numpy.typing import NDArray

from promptseg.detectors.box_selection import Boxes, select_boxes
from promptseg.encoders.classifier import ImageClassifier
from promptseg.language.person_kinds import PersonKind
from promptseg.models.promptseg.settings import KindSettings
from promptseg.ops.resize import sigmoid

Floats = NDArray[np.float32]
TABLE = "people.npz"


@dataclass(frozen=True, eq=False)
class PeopleWeights:
    """Linear functions of a head's features.

    Attributes:
        female: Weights of a woman or girl against a man or boy, shape (K,).
        child: Weights of a child against an adult, shape (K,).
        shifts: Added to each of the two, shape (2,).
    """

    female: Floats
    child: Floats
    shifts: Floats


@dataclass(frozen=True, eq=False)
class People:
    """The detected people of one image.

    Attributes:
        boxes: Their boxes, best first.
        female: Probability that each is a woman or girl, shape (M,).
        child: Probability that each is a child, shape (M,).
    """

    boxes: Boxes
    female: Floats
    child: Floats

    def judge(self, kind: PersonKind, *, least_of_gender: float = 0.0) -> Floats:
        """Compute the probability that each person is of a kind, shape (M,).

        Args:
            kind: A kind.
            least_of_gender: A lower probability of its gender counts as this.
        """
        probability = np.ones(len(self.boxes), dtype=np.float32)
        if kind.gender is not None:
            of_gender = self.female if kind.gender == "female" else 1 - self.female
            probability = np.maximum(of_gender, np.float32(least_of_gender))
        return probability * self.child if kind.is_child else probability

    def best_score(self, kind: PersonKind, *, least_of_gender: float = 0.0) -> float:
        """Return the highest score of the detections, each times the probability of the kind; 0 without people."""
        judged = self.judge(kind, least_of_gender=least_of_gender)
        return float((self.boxes.scores * judged).max(initial=0.0))

    def of_kind(self, kind: PersonKind, *, min_probability: float) -> Boxes:
        """Choose the people of a kind, and if none is likely, the likeliest; scores are those of the detections."""
        if not len(self.boxes):
            return self.boxes
        probability = self.judge(kind)
        chosen = probability >= min(min_probability, float(probability.max()))
        return Boxes(self.boxes.boxes_xyxy[chosen], self.boxes.scores[chosen])


def find_people(
    image_rgb: NDArray[np.uint8],
    detections: Floats,
    classes: Sequence[int],
    classifier: ImageClassifier,
    settings: KindSettings,
) -> People:
    """Find the people of an image and classify the head of each.

    Args:
        image_rgb: uint8, shape (H, W, 3).
        detections: Shape (., 4 + V), see `encoders.base.ImageTower.detect`.
        classes: The classes of people among the detector's.
        classifier: Classifies heads.
        settings: Who counts as detected, and where the head is.
    """
    boxes = select_boxes(detections, classes, min_score=settings.min_person_score).first(settings.max_people)
    if not len(boxes):
        return People(boxes, np.zeros(0, dtype=np.float32), np.zeros(0, dtype=np.float32))
    crops = [crop_head(image_rgb, box_xyxy, settings) for box_xyxy in boxes.boxes_xyxy]
    features = [describe_head(classifier.classify(crop, image_size=settings.head_side)) for crop in crops]
    return judge_heads(boxes, np.stack(features), load_people_weights())


def judge_heads(boxes: Boxes, features: Floats, weights: PeopleWeights) -> People:
    """Judge M people by the features of their heads, shape (M, K)."""
    female, child = sigmoid(np.stack([features @ weights.female, features @ weights.child]) + weights.shifts[:, None])
    return People(boxes, female, child)


def crop_head(image_rgb: NDArray[np.uint8], box_xyxy: NDArray[np.float64], settings: KindSettings) -> NDArray[np.uint8]:
    """Crop the upper part of a person; box: in shares of the image's sides, shape (4,)."""
    height, width, _ = image_rgb.shape
    left, top, right, bottom = (box_xyxy * (width, height, width, height)).tolist()
    bottom = min(bottom, top + settings.head_aspect * (right - left))
    crop = image_rgb[int(top) : int(bottom) + 1, int(left) : int(right) + 1]
    return np.ascontiguousarray(crop)


def describe_head(class_logits: Floats) -> Floats:
    """Compute the features of a head, shape (K,), from the class logits of its cells, shape (K, h, w)."""
    features = class_logits.mean(axis=(1, 2))
    described: Floats = features - features.mean()
    return described


@cache
def load_people_weights() -> PeopleWeights:
    """Load the weights; once a process."""
    with resources.files("promptseg.models.promptseg").joinpath(TABLE).open("rb") as file, np.load(file) as stored:
        return PeopleWeights(*(stored[name].astype(np.float32) for name in ("female", "child", "shifts")))
