"""The contract of a detector: an image is encoded once, phrases give boxes, and a box belongs to exactly one phrase."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from promptseg._value_checks import checked_probability
from promptseg.errors import DataError
from promptseg.ops.boxes import suppress_boxes
from promptseg.ops.resize import sigmoid

# More boxes of one image than this are noise, and each costs a mask.
MAX_BOXES = 300

Encoded = TypeVar("Encoded")


@dataclass(frozen=True)
class Thresholds:
    """The lowest scores that count.

    Attributes:
        box: A box counts from this score on, in [0, 1].
        text: A word of a phrase counts as seen from this score on, in [0, 1]. Only detectors that score every word
            (GroundingDINO) use it.

    Raises:
        PromptError: One is no number in [0, 1].
    """

    box: float
    text: float = 0.25

    def __post_init__(self) -> None:
        for name in ("box", "text"):
            object.__setattr__(self, name, checked_probability(getattr(self, name), what=f"the {name} threshold"))


@dataclass(frozen=True, eq=False)
class Detections:
    """The boxes of N phrases, best first.

    Attributes:
        boxes_xyxy: Shape (M, 4), float32, pixels of the image, inside it.
        scores: Shape (M,), float32, in [0, 1], falling.
        phrase_index: Which phrase each box belongs to, shape (M,), int64.
        peaks: Best score of each phrase anywhere in the image, also below the threshold; shape (N,), float32.
    """

    boxes_xyxy: NDArray[np.float32]
    scores: NDArray[np.float32]
    phrase_index: NDArray[np.int64]
    peaks: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class PhraseBoxes:
    """The objects of one phrase in one image.

    Attributes:
        boxes_xyxy: Shape (M, 4), pixels of the image.
        scores: Shape (M,), in [0, 1].
        presence: Probability that an object of the phrase is in the image, in [0, 1].
    """

    boxes_xyxy: NDArray[np.floating]
    scores: NDArray[np.floating]
    presence: float


@runtime_checkable
class BoxFinder(Protocol):
    """A segmenter that separates the objects of a phrase by boxes of its own."""

    def find_boxes(self, image: Any, phrases: Sequence[str]) -> Sequence[PhraseBoxes]:
        """Give the objects of each phrase that the segmenter would give as instances.

        Args:
            image: An image that the segmenter encoded.
            phrases: N of them.
        """
        ...


class Detector(Protocol[Encoded]):
    """Encode an image once, then detect as many phrases as come.

    An encoded image has `size_hw` and `to_arrays`, see `promptseg.segmenter.EncodedImage`.

    Attributes:
        thresholds: Its own, used where the caller gives none.
        presence_threshold: A phrase counts as found in the image from this peak on.
    """

    @property
    def thresholds(self) -> Thresholds: ...

    @property
    def presence_threshold(self) -> float: ...

    def encode_image(self, image_rgb: NDArray[np.uint8]) -> Encoded:
        """Encode an image, uint8, shape (H, W, 3)."""
        ...

    def restore_image(self, arrays: Mapping[str, NDArray[Any]], image_rgb: NDArray[np.uint8]) -> Encoded:
        """Make the encoded image again that gave `arrays`, among others, by `to_arrays`.

        Raises:
            DataError: An array is missing.
        """
        ...

    def detect(self, image: Encoded, phrases: Sequence[str], thresholds: Thresholds | None = None) -> Detections:
        """Detect phrases in an encoded image.

        Args:
            image: Returned by `encode_image`.
            phrases: N different ones. One phrase is one label, whatever words and signs it is made of.
            thresholds: None takes the detector's own.

        Raises:
            PromptError: A phrase is too long for the detector.
            WeightsError: The detector can't read a phrase with the weights at hand.
        """
        ...


def take_array(arrays: Mapping[str, NDArray[Any]], name: str) -> NDArray[Any]:
    """Give one array of an encoded image.

    Raises:
        DataError: It is missing.
    """
    if name not in arrays:
        raise DataError(f"not the encoded image of this detector: {name} is missing; encode the image again")
    return arrays[name]


def collect(
    boxes_xyxy: NDArray[np.floating],
    scores: NDArray[np.floating],
    phrase_index: NDArray[np.integer],
    peaks: NDArray[np.floating],
    size_hw: tuple[int, int],
) -> Detections:
    """Cut boxes at the image's border, drop those without a whole pixel, and sort.

    Args:
        boxes_xyxy: Shape (M, 4), pixels.
        scores: Shape (M,).
        phrase_index: Shape (M,).
        peaks: Shape (N,).
        size_hw: Of the image, pixels.

    Returns:
        The best `MAX_BOXES`.
    """
    height, width = size_hw
    boxes = np.asarray(boxes_xyxy, np.float32).clip(0, np.array([width, height, width, height], np.float32))
    kept = np.flatnonzero((boxes[:, 2:] - boxes[:, :2] >= 1).all(axis=1))
    scores = np.asarray(scores, np.float32)
    order = kept[np.argsort(-scores[kept], kind="stable")][:MAX_BOXES]
    phrases = np.asarray(phrase_index, np.int64)
    return Detections(boxes[order], scores[order], phrases[order], np.asarray(peaks, np.float32))


def collect_best(
    boxes_xyxy: NDArray[np.floating],
    logits: NDArray[np.float32],
    size_hw: tuple[int, int],
    *,
    least_score: float,
    max_iou: float,
) -> Detections:
    """Give every cell to the phrase that it resembles most, and keep the sure ones that show different objects.

    Args:
        boxes_xyxy: Of M cells, shape (M, 4), pixels.
        logits: How much each resembles each phrase, shape (M, N).
        size_hw: Of the image, pixels.
        least_score: In [0, 1]; boxes are kept above it.
        max_iou: See `suppress_per_phrase`.
    """
    probability = sigmoid(logits)
    scores, phrase_index = probability.max(axis=1), probability.argmax(axis=1)
    kept = np.flatnonzero(scores > least_score)
    kept = kept[suppress_per_phrase(boxes_xyxy[kept], scores[kept], phrase_index[kept], max_iou)]
    return collect(boxes_xyxy[kept], scores[kept], phrase_index[kept], probability.max(axis=0), size_hw)


def suppress_per_phrase(
    boxes_xyxy: NDArray[np.floating], scores: NDArray[np.floating], phrase_index: NDArray[np.integer], max_iou: float
) -> NDArray[np.int64]:
    """Choose boxes so that no two of a phrase overlap by more than `max_iou`; the better scored one stays.

    Args:
        boxes_xyxy: Shape (M, 4).
        scores: Shape (M,).
        phrase_index: Shape (M,); boxes of different phrases never suppress each other.
        max_iou: In [0, 1].

    Returns:
        Indexes of those that stay, best first.
    """
    # Each phrase gets an image of its own, far from the others'.
    apart = float(boxes_xyxy.max() - boxes_xyxy.min() + 1) if len(boxes_xyxy) else 0.0
    return suppress_boxes(boxes_xyxy + phrase_index[:, None] * apart, scores, iou_threshold=max_iou)


def corners(boxes_cxcywh: NDArray[np.float32]) -> NDArray[np.float32]:
    """Bring boxes (M, 4) from center, width and height to left, top, right and bottom."""
    center, size = boxes_cxcywh[:, :2], boxes_cxcywh[:, 2:]
    return np.concatenate([center - size / 2, center + size / 2], axis=1)
