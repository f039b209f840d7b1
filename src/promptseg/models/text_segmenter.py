"""Segmenting by texts in three steps, whoever computes them: the network itself, or an engine that runs it.

Shapes: B pictures, N texts, T tokens, D = config.dim, E = config.dense.embedding_dim.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from promptseg.encoders.base import ImageTower
from promptseg.models.base import Features, Prediction, single_texts
from promptseg.models.config import PromptSegConfig
from promptseg.models.pixels import fit_size, to_pixels
from promptseg.prompts import Query

QUERY_CHUNK = 16

Record = TypeVar("Record", "EncodedImages", "EncodedTexts", "Decoded")


@dataclass(frozen=True)
class EncodedImages:
    """B pictures, encoded once for all queries.

    Attributes:
        fused: What the decoder reads, shape (B, D, h, w); None without a decoder.
        fine: A finer map for it, shape (B, config.fine_dim, hf, wf), or None.
        pixel_embedding: Unit vectors to compare with texts, shape (B, E, he, we), or None.
        rivalry: What the whole vocabulary says at each cell, shape (B, he, we); None without a vocabulary.
    """

    fused: Tensor | None
    fine: Tensor | None
    pixel_embedding: Tensor | None
    rivalry: Tensor | None


@dataclass(frozen=True)
class EncodedTexts:
    """N texts, encoded once for all pictures.

    Attributes:
        prompt: Prompt tokens for the decoder, shape (N, T, D); T is 1 with pooled text. None without a decoder.
        prompt_mask: True where a token is real, shape (N, T), bool; None: everywhere.
        dense: Unit vectors to compare with pixels, shape (N, E), or None.
        near_names: Names of the vocabulary that may say the same, unit vectors, shape (N, K, E), or None.
        near_mask: True where they do, shape (N, K), bool, or None.
    """

    prompt: Tensor | None
    prompt_mask: Tensor | None
    dense: Tensor | None
    near_names: Tensor | None
    near_mask: Tensor | None


@dataclass(frozen=True)
class Decoded:
    """What the model says about N (picture, text) pairs.

    Attributes:
        mask_logits: Shape (N, hm, wm).
        iou: Predicted IoU, shape (N,), not clamped.
        presence_logit: Before calibration, shape (N,).
        similarity: Pixel-text logits, shape (N, he, we), or None without the dense head.
        competition: Log-probability of the text against the vocabulary, shape (N, he, we), or None.
    """

    mask_logits: Tensor
    iou: Tensor
    presence_logit: Tensor
    similarity: Tensor | None
    competition: Tensor | None


def to_tensors(record: EncodedImages | EncodedTexts | Decoded) -> dict[str, Tensor]:
    """Give what a record holds, by name; what is None is left out."""
    return {name: value for name, value in vars(record).items() if value is not None}


def from_tensors(record: type[Record], tensors: Mapping[str, Tensor]) -> Record:
    """Build a record from what `to_tensors` gave; other names are not looked at."""
    values: dict[str, Any] = {name: tensors.get(name) for name in record.__annotations__}
    return record(**values)


class TextSegmenter(ABC):
    """A `Segmenter` made of three steps.

    Attributes:
        config: Architecture and operating point.
        image_tower: Says what pixels have to look like.
    """

    prompt_kinds = frozenset({"text"})
    config: PromptSegConfig
    image_tower: ImageTower

    @property
    @abstractmethod
    def device(self) -> torch.device:
        """Where the steps are computed."""

    @abstractmethod
    def encode_images(self, pixels: Tensor) -> EncodedImages:
        """Encode normalised pixels, shape (B, 3, H, W); H and W are multiples of the tower's `multiple`."""

    @abstractmethod
    def encode_texts(self, texts: Sequence[str]) -> EncodedTexts:
        """Encode N texts."""

    @abstractmethod
    def decode(self, images: EncodedImages, texts: EncodedTexts, image_index: Tensor) -> Decoded:
        """Segment B pictures by N texts; image_index, shape (N,), says which picture each text is asked of."""

    @property
    def mask_threshold(self) -> float:
        return self.config.mask_threshold

    @property
    def presence_threshold(self) -> float:
        return self.config.presence_threshold

    @torch.inference_mode()
    def encode_image(self, image_rgb: np.ndarray) -> Features:
        """Encode one picture, uint8, shape (H, W, 3), as named tensors whose first dimension is 1."""
        size_hw = fit_size(
            image_rgb.shape[:2],
            image_size=self.config.image_size,
            multiple=self.image_tower.multiple,
            resize=self.config.resize,
        )
        images = self.encode_images(to_pixels(image_rgb, size_hw, self.image_tower).to(self.device))
        return to_tensors(images)

    def segment(self, features: Features, queries: Sequence[Query], size_hw: tuple[int, int]) -> Prediction:
        """Segment one encoded picture by N queries of one phrase each; see `Segmenter.segment`."""
        return self.segment_texts(features, single_texts(queries), size_hw)

    @torch.inference_mode()
    def segment_texts(self, features: Features, texts: Sequence[str], size_hw: tuple[int, int]) -> Prediction:
        """Segment one encoded picture by N texts.

        Args:
            features: What `encode_image` gave, here or on another device.
            texts: N texts; none gives an empty prediction.
            size_hw: Original size of the picture, pixels. The maps cover the whole picture at any size.
        """
        # they may come from a file
        images = from_tensors(EncodedImages, {name: value.to(self.device) for name, value in features.items()})
        parts = []
        for start in range(0, len(texts), QUERY_CHUNK):  # a decoder's memory grows with the queries at once
            chunk = texts[start : start + QUERY_CHUNK]
            index = torch.zeros(len(chunk), dtype=torch.int64, device=self.device)
            parts.append(self.decode(images, self.encode_texts(chunk), index))
        if not parts:
            empty = torch.zeros(0, device=self.device)
            return Prediction(mask_logits=empty[:, None, None], presence=empty, iou=empty)
        scale, shift = self.config.presence_calibration
        return Prediction(
            mask_logits=torch.cat([part.mask_logits for part in parts]),
            presence=torch.sigmoid(scale * torch.cat([part.presence_logit for part in parts]) + shift),
            iou=torch.cat([part.iou for part in parts]).clamp(0.0, 1.0),
        )
