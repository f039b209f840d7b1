"""What a detector is: an image is encoded once, phrases give boxes, and a box belongs to exactly one phrase."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from promptseg.errors import PromptError
from promptseg.ops.boxes import suppress_boxes
from promptseg.segmenter import Features

# More boxes of one image than this are noise, and every one costs a mask.
MAX_BOXES = 300


@dataclass(frozen=True)
class Thresholds:
    """From which scores a detector speaks.

    Attributes:
        box: A box counts from this score on, in [0, 1].
        text: A word of a phrase counts as seen from this score on, in [0, 1]. Only detectors that score every word
            (GroundingDINO) ask for it.

    Raises:
        PromptError: One is outside [0, 1].
    """

    box: float
    text: float = 0.25

    def __post_init__(self) -> None:
        for name in ("box", "text"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise PromptError(f"the {name} threshold is a score in [0, 1], not {getattr(self, name)}")


@dataclass(frozen=True)
class Detections:
    """What was found of N phrases, best first.

    Attributes:
        boxes_xyxy: Shape (M, 4), float, pixels of the image, inside it.
        scores: Shape (M,), in [0, 1], falling.
        phrase_index: Which phrase each box belongs to, shape (M,), int64.
        peaks: Best score of each phrase anywhere in the image, also below the threshold; shape (N,).
    """

    boxes_xyxy: Tensor
    scores: Tensor
    phrase_index: Tensor
    peaks: Tensor


class Detector(Protocol):
    """Encode an image once, then look for as many phrases as come.

    Attributes:
        thresholds: Its own, where the caller names none.
        presence_threshold: A phrase counts as found in the image from this peak on.
    """

    @property
    def thresholds(self) -> Thresholds: ...

    @property
    def presence_threshold(self) -> float: ...

    def encode_image(self, image_rgb: NDArray[np.uint8]) -> Features:
        """Encode an image, uint8, shape (H, W, 3)."""
        ...

    def detect(
        self,
        features: Features,
        phrases: Sequence[str],
        size_hw: tuple[int, int],
        thresholds: Thresholds | None = None,
    ) -> Detections:
        """Look for phrases in an encoded image.

        Args:
            features: What `encode_image` gave.
            phrases: N different ones. One phrase is one label, whatever words and signs it is made of.
            size_hw: Of the image, pixels.
            thresholds: None takes the detector's own.

        Raises:
            PromptError: A phrase is too long for the detector.
            WeightsError: The detector can't read a phrase with the weights at hand.
        """
        ...


def collect(
    boxes_xyxy: Tensor, scores: Tensor, phrase_index: Tensor, peaks: Tensor, size_hw: tuple[int, int]
) -> Detections:
    """Cut boxes at the image's border, drop those without a whole pixel, and sort.

    Args:
        boxes_xyxy: Shape (M, 4), pixels.
        scores: Shape (M,).
        phrase_index: Shape (M,).
        peaks: Shape (N,).
        size_hw: Of the image, pixels.

    Returns:
        The best `MAX_BOXES`, on the CPU.
    """
    height, width = size_hw
    limits = torch.tensor([width, height, width, height], dtype=torch.float32)
    boxes = torch.minimum(boxes_xyxy.detach().float().cpu().clamp(min=0), limits)
    has_area = (boxes[:, 2] - boxes[:, 0] >= 1) & (boxes[:, 3] - boxes[:, 1] >= 1)
    kept = has_area.nonzero()[:, 0]
    scores, phrase_index = scores.detach().float().cpu(), phrase_index.cpu()
    order = kept[scores[kept].argsort(descending=True, stable=True)][:MAX_BOXES]
    return Detections(boxes[order], scores[order], phrase_index[order], peaks.detach().float().cpu())


def collect_best(
    boxes_xyxy: Tensor, logits: Tensor, size_hw: tuple[int, int], *, least_score: float, max_iou: float
) -> Detections:
    """Give every cell to the phrase that it resembles most, and keep the sure ones that show different things.

    Args:
        boxes_xyxy: Of M cells, shape (M, 4), pixels, on the CPU.
        logits: How much each resembles each phrase, shape (M, N).
        size_hw: Of the image, pixels.
        least_score: In [0, 1]; boxes are kept above it.
        max_iou: See `suppress_per_phrase`.
    """
    probability = logits.sigmoid()
    scores, phrase_index = probability.max(1)
    kept = (scores > least_score).nonzero()[:, 0]
    kept = kept[suppress_per_phrase(boxes_xyxy[kept], scores[kept], phrase_index[kept], max_iou)]
    return collect(boxes_xyxy[kept], scores[kept], phrase_index[kept], probability.amax(0), size_hw)


def suppress_per_phrase(boxes_xyxy: Tensor, scores: Tensor, phrase_index: Tensor, max_iou: float) -> Tensor:
    """Choose boxes so that no two of a phrase overlap by more than `max_iou`, the better scored one staying.

    Args:
        boxes_xyxy: Shape (M, 4), on the CPU like the others.
        scores: Shape (M,).
        phrase_index: Shape (M,); boxes of different phrases never push each other out.
        max_iou: In [0, 1].

    Returns:
        Indexes of those that stay, best first.
    """
    # Each phrase gets an image of its own, far from the others'.
    apart = (boxes_xyxy.max() - boxes_xyxy.min() + 1) if len(boxes_xyxy) else boxes_xyxy.new_zeros(())
    shifted = boxes_xyxy + phrase_index[:, None] * apart
    return torch.from_numpy(suppress_boxes(shifted.numpy(), scores.numpy(), iou_threshold=max_iou))


def corners(boxes_cxcywh: Tensor) -> Tensor:
    """Bring boxes (M, 4) from center, width and height to left, top, right and bottom."""
    center, size = boxes_cxcywh[:, :2], boxes_cxcywh[:, 2:]
    return torch.cat([center - size / 2, center + size / 2], dim=1)
