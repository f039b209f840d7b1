"""OWLv2 through transformers: every cell of the image proposes a box, every phrase is one vector.

Source:
    Minderer et al. 2023, "Scaling Open-Vocabulary Object Detection", arXiv:2306.09683; google-research/scenic
    (Apache-2.0).
    Differs: overlapping boxes of one phrase are suppressed; the image is resized by Pillow's bilinear filter.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import CLIPTokenizer, Owlv2ForObjectDetection

from promptseg.detectors.base import Detections, Thresholds, collect_best, corners, take_array
from promptseg.detectors.pixels import normalize_unit, resize_rgb
from promptseg.encoders.tower_facts import CLIP_MEAN, CLIP_STD
from promptseg.errors import CheckpointError, PromptError
from promptseg.segmenter import Arrays

THRESHOLDS = Thresholds(box=0.2)  # the published demo's
PATCHES = "detector.patches"
BOXES = "detector.boxes"
# Two boxes of one phrase that overlap more are one object.
MAX_IOU = 0.5


@dataclass(frozen=True, eq=False)
class EncodedCells:
    """An image's cells, each with a vector and a proposed box.

    Attributes:
        size_hw: Of the image, pixels.
        patches: Vectors, float32, shape (1, P, C).
        boxes: Center, width and height in shares of the longer side, float32, shape (1, P, 4).
    """

    size_hw: tuple[int, int]
    patches: NDArray[np.float32]
    boxes: NDArray[np.float32]

    def to_arrays(self) -> Arrays:
        """Give the parts as named arrays."""
        return {PATCHES: self.patches, BOXES: self.boxes}


class Owlv2:
    """A detector; see `detectors.base.Detector` for its methods.

    A box goes to the phrase that it resembles most, so phrases compete: "animal" beside "dog" loses the dogs.

    Args:
        model: transformers' Owlv2ForObjectDetection, with its weights.
        tokenizer: CLIP's, as transformers' CLIPTokenizer.
    """

    thresholds = THRESHOLDS
    presence_threshold = THRESHOLDS.box  # a phrase is there when it has a box

    def __init__(self, model: Any, tokenizer: Any) -> None:
        self.model = model
        model.train(mode=False).requires_grad_(False)
        self.tokenizer = tokenizer

    @torch.inference_mode()
    def encode_image(self, image_rgb: NDArray[np.uint8]) -> EncodedCells:
        """Encode an image, uint8 (H, W, 3): a vector and a box for each cell."""
        pixels = torch.from_numpy(to_square(image_rgb, self.model.config.vision_config.image_size))
        feature_map, _ = self.model.image_embedder(pixels.to(self.model.device))
        patches = feature_map.flatten(1, 2)
        boxes = self.model.box_predictor(patches, feature_map)
        size_hw = (image_rgb.shape[0], image_rgb.shape[1])
        return EncodedCells(size_hw, patches.float().cpu().numpy(), boxes.float().cpu().numpy())

    def restore_image(self, arrays: Mapping[str, NDArray[Any]], image_rgb: NDArray[np.uint8]) -> EncodedCells:
        """Make the record again; arguments and errors as `detectors.base.Detector.restore_image`."""
        size_hw = (image_rgb.shape[0], image_rgb.shape[1])
        return EncodedCells(size_hw, take_array(arrays, PATCHES), take_array(arrays, BOXES))

    @torch.inference_mode()
    def detect(self, image: EncodedCells, phrases: Sequence[str], thresholds: Thresholds | None = None) -> Detections:
        """Detect phrases in an encoded image; arguments and errors as `detectors.base.Detector.detect`."""
        patches = torch.tensor(image.patches).to(self.model.device, self.model.dtype)
        logits = self.phrase_logits(patches, phrases)[0].float().cpu().numpy()
        # the padding that makes the image a square is at the right and below
        boxes = corners(image.boxes[0]) * max(image.size_hw)
        least_score = (thresholds or THRESHOLDS).box
        return collect_best(boxes, logits, image.size_hw, least_score=least_score, max_iou=MAX_IOU)

    def phrase_logits(self, patches: Tensor, phrases: Sequence[str]) -> Tensor:
        """Compare patches (1, P, C) with N phrases: (1, P, N).

        Raises:
            PromptError: A phrase is too long.
        """
        room = self.model.config.text_config.max_position_embeddings
        token_ids = torch.zeros(len(phrases), room, dtype=torch.int64)
        mask = torch.zeros_like(token_ids)
        for row, (phrase, tokens) in enumerate(zip(phrases, self.tokenizer(list(phrases))["input_ids"], strict=True)):
            if len(tokens) > room:
                raise PromptError(f"OWLv2 reads {len(tokens) - 2} word pieces in {phrase[:60]!r}; it takes {room - 2}")
            token_ids[row, : len(tokens)] = torch.tensor(tokens)
            mask[row, : len(tokens)] = 1
        device = self.model.device
        texts = self.model.owlv2.get_text_features(token_ids.to(device), mask.to(device)).pooler_output
        logits: Tensor = self.model.class_predictor(patches, texts[None])[0]
        return logits


def to_square(image_rgb: NDArray[np.uint8], side: int) -> NDArray[np.float32]:
    """Scale the longer side to `side` and pad at the right and below, with gray as in training: (1, 3, side, side)."""
    height, width, _ = image_rgb.shape
    scale = side / max(height, width)
    scaled_hw = (max(1, round(height * scale)), max(1, round(width * scale)))
    square = np.full((side, side, 3), 127, dtype=np.uint8)
    square[: scaled_hw[0], : scaled_hw[1]] = resize_rgb(image_rgb, scaled_hw)
    return normalize_unit(square, CLIP_MEAN, CLIP_STD)


def load_owlv2(directory: Path, device: str) -> Owlv2:
    """Load a directory of transformers' Owlv2ForObjectDetection, with CLIP's tokenizer.

    Raises:
        CheckpointError: There is no such model in the directory.
    """
    try:
        model: Any = Owlv2ForObjectDetection.from_pretrained(directory, local_files_only=True)
        tokenizer = CLIPTokenizer.from_pretrained(directory, local_files_only=True)
    except (OSError, KeyError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{directory}: no OWLv2 for transformers ({error})") from error
    return Owlv2(model.to(device), tokenizer)
