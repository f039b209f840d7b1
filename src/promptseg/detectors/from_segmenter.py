"""Any text segmenter as a detector: every object in a phrase's probability map becomes a box."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from promptseg.detectors.base import Detections, Thresholds, collect
from promptseg.models.base import Features, Segmenter
from promptseg.ops.components import iterate_components
from promptseg.ops.resize import logit
from promptseg.prompts import Query, TextPrompt

# Objects smaller than this share of the largest one of their phrase are crumbs of its map.
MIN_SHARE = 0.02


class SegmenterDetector:
    """Boxes around the connected objects of a segmenter's masks.

    A box's score is the mean probability inside its object times the presence of its phrase, as in
    `QueryResult.instances`. Phrases are judged one by one: they may share a place, and none changes another's answer.

    Args:
        segmenter: Takes texts.
    """

    def __init__(self, segmenter: Segmenter) -> None:
        self.segmenter = segmenter

    @property
    def thresholds(self) -> Thresholds:
        """What the segmenter itself would call present: a mask of the least probability, of the least presence."""
        return Thresholds(box=self.segmenter.presence_threshold * self.segmenter.mask_threshold)

    @property
    def presence_threshold(self) -> float:
        """The segmenter's own."""
        return self.segmenter.presence_threshold

    def encode_image(self, image_rgb: NDArray[np.uint8]) -> Features:
        """Encode a picture, uint8, shape (H, W, 3)."""
        return self.segmenter.encode_image(image_rgb)

    @torch.inference_mode()
    def detect(
        self,
        features: Features,
        phrases: Sequence[str],
        size_hw: tuple[int, int],
        thresholds: Thresholds | None = None,
    ) -> Detections:
        """Look for phrases in an encoded picture; arguments and errors as `detectors.base.Detector.detect`."""
        least_score = (thresholds or self.thresholds).box
        queries = [Query(phrase, (TextPrompt(phrase),)) for phrase in phrases]
        prediction = self.segmenter.segment(features, queries, size_hw)
        presence = prediction.presence.float().cpu()
        boxes: list[tuple[float, float, float, float]] = []
        scores: list[float] = []
        phrase_index: list[int] = []
        for index, mask_logits in enumerate(prediction.mask_logits.float().cpu()):
            for box_xyxy, probability in self._objects(mask_logits, size_hw):
                score = probability * presence[index].item()
                if score >= least_score:
                    boxes.append(box_xyxy)
                    scores.append(score)
                    phrase_index.append(index)
        return collect(
            torch.tensor(boxes).reshape(-1, 4),
            torch.tensor(scores),
            torch.tensor(phrase_index, dtype=torch.int64),
            presence,
            size_hw,
        )

    def _objects(
        self, mask_logits: Tensor, size_hw: tuple[int, int]
    ) -> list[tuple[tuple[float, float, float, float], float]]:
        """Box in pixels of the picture and mean probability of each object of a map (h, w)."""
        probability = mask_logits.sigmoid().numpy()
        inside = mask_logits.numpy() >= logit(self.segmenter.mask_threshold)
        step_y, step_x = (full / small for full, small in zip(size_hw, inside.shape, strict=True))
        objects = []
        for (rows, columns), mask in iterate_components(inside, min_share=MIN_SHARE):
            box = (columns.start * step_x, rows.start * step_y, columns.stop * step_x, rows.stop * step_y)
            objects.append((box, float(probability[rows, columns][mask].mean())))
        return objects
