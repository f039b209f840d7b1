"""What every segmentation model can do, whatever is inside it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from torch import Tensor

Features = dict[str, Tensor]
"""A picture after `encode_image`: named tensors, first dimension 1. Their meaning is the model's own business."""


@dataclass(frozen=True)
class Prediction:
    """What a model says about N texts on one picture.

    Attributes:
        mask_logits: Shape (N, h, w), float, covering exactly the picture at low resolution. 0 is probability 0.5.
        presence: Calibrated probability that what the text names is there, shape (N,), in [0, 1].
        iou: Predicted IoU of each mask, shape (N,), in [0, 1].
    """

    mask_logits: Tensor
    presence: Tensor
    iou: Tensor


class Segmenter(Protocol):
    """Encode a picture once, then segment it by as many texts as come.

    Attributes:
        prompt_kinds: Kinds of prompt that the model takes: "text", ...
        mask_threshold: A pixel belongs to a mask from this probability on.
        presence_threshold: A query counts as found from this presence on.
    """

    @property
    def prompt_kinds(self) -> frozenset[str]: ...

    @property
    def mask_threshold(self) -> float: ...

    @property
    def presence_threshold(self) -> float: ...

    def encode_image(self, image_rgb: np.ndarray) -> Features:
        """Encode a picture, uint8, shape (H, W, 3)."""
        ...

    def segment_texts(self, features: Features, texts: Sequence[str], size_hw: tuple[int, int]) -> Prediction:
        """Segment an encoded picture of the given original size by texts; N texts give N masks, in order."""
        ...
