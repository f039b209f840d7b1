"""Any text segmenter as a detector: what its tower detected of a phrase, and what else its probability map shows."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from promptseg.detectors.base import Detections, Thresholds, collect
from promptseg.detectors.box_selection import Boxes, cells_inside, peak_inside, read_detections, select_boxes
from promptseg.language.matching import match_names
from promptseg.ops.components import iterate_components
from promptseg.ops.resize import logit
from promptseg.prompts import Query, TextPrompt
from promptseg.segmenter import Features, Segmenter

# Objects smaller than this share of the largest one of their phrase are crumbs of its map.
MIN_SHARE = 0.02
# Detections of a known name count from here on. What the detector has seen less of has this score at most.
MIN_DETECTED = 0.03
# An object of the map is a detected one where detections cover this share of it.
MIN_COVERED = 0.5
# A detected thing shows a phrase as much as the most telling cells in its box do, this share of them.
PEAK_SHARE = 0.1


@dataclass(frozen=True)
class _Part:
    """A connected object of a map.

    Attributes:
        window: Rows and columns.
        inside: Its cells in the window, bool.
        probability: Their mean.
    """

    window: tuple[slice, slice]
    inside: NDArray[np.bool_]
    probability: float

    def box_xyxy(self, map_hw: tuple[int, int]) -> tuple[float, float, float, float]:
        """Give its box in shares of the image's sides."""
        (rows, columns), (height, width) = self.window, map_hw
        return columns.start / width, rows.start / height, columns.stop / width, rows.stop / height


class SegmenterDetector:
    """Boxes around the objects of a segmenter's masks.

    A box's score is the mean probability inside its object times the presence of its phrase, as in
    `QueryResult.instances`. Phrases are judged one by one: they may share a place, and none changes another's answer.

    Where the segmenter's tower detects things and a phrase names some of them, the boxes are theirs, which tells apart
    what touches. Their score is the geometric mean of the detector's and the phrase's: the highest probability inside
    times presence. Objects of the map that were not detected stay, at the score of the least detection.

    Args:
        segmenter: Takes texts.
        detected_names: What the `detections` among the segmenter's features are of; none where there are none.
    """

    def __init__(self, segmenter: Segmenter, detected_names: tuple[str, ...] = ()) -> None:
        self.segmenter = segmenter
        self.detected_names = detected_names

    @property
    def thresholds(self) -> Thresholds:
        """What the segmenter itself would call present: a mask of the least probability, of the least presence."""
        return Thresholds(box=self.segmenter.presence_threshold * self.segmenter.mask_threshold)

    @property
    def presence_threshold(self) -> float:
        """The segmenter's own."""
        return self.segmenter.presence_threshold

    def encode_image(self, image_rgb: NDArray[np.uint8]) -> Features:
        """Encode an image, uint8, shape (H, W, 3)."""
        return self.segmenter.encode_image(image_rgb)

    @torch.inference_mode()
    def detect(
        self,
        features: Features,
        phrases: Sequence[str],
        size_hw: tuple[int, int],
        thresholds: Thresholds | None = None,
    ) -> Detections:
        """Look for phrases in an encoded image; arguments and errors as `detectors.base.Detector.detect`."""
        least_score = (thresholds or self.thresholds).box
        queries = [Query(phrase, (TextPrompt(phrase),)) for phrase in phrases]
        prediction = self.segmenter.segment(features, queries, size_hw)
        presence = prediction.presence.float().cpu()
        boxes: list[tuple[float, ...]] = []
        scores: list[float] = []
        phrase_index: list[int] = []
        for index, mask_logits in enumerate(prediction.mask_logits.float().cpu()):
            detected = self._detected(features, phrases[index])
            for box_xyxy, score in self._objects(mask_logits, presence[index].item(), detected):
                if score >= least_score:
                    boxes.append(box_xyxy)
                    scores.append(score)
                    phrase_index.append(index)
        height, width = size_hw
        return collect(
            torch.tensor(boxes, dtype=torch.float64).reshape(-1, 4) * torch.tensor([width, height, width, height]),
            torch.tensor(scores),
            torch.tensor(phrase_index, dtype=torch.int64),
            presence,
            size_hw,
        )

    def _detected(self, features: Features, phrase: str) -> Boxes | None:
        """What the tower detected of a phrase; None where it does not know the name."""
        names = match_names(phrase, self.detected_names)
        detections = read_detections(features) if names else None
        return None if detections is None else select_boxes(detections, names, min_score=MIN_DETECTED)

    def _objects(
        self, mask_logits: Tensor, presence: float, detected: Boxes | None
    ) -> Iterator[tuple[tuple[float, ...], float]]:
        """Yield box, in shares of the image's sides, and score of each object of a phrase's map (h, w)."""
        probability = mask_logits.sigmoid().numpy()
        parts = self._parts(mask_logits, probability)
        if detected is None:
            for part in parts:
                yield part.box_xyxy(probability.shape), part.probability * presence
            return
        is_covered = np.zeros(probability.shape, dtype=np.bool_)
        for box_xyxy, score in zip(detected.boxes_xyxy, detected.scores, strict=True):
            cells_inside(is_covered, box_xyxy)[:] = True
            shown = peak_inside(probability, box_xyxy, share=PEAK_SHARE) * presence
            yield tuple(box_xyxy.tolist()), float(np.sqrt(score * shown))
        for part in parts:
            if is_covered[part.window][part.inside].mean() < MIN_COVERED:
                shown = part.probability * presence
                yield part.box_xyxy(probability.shape), float(np.sqrt(MIN_DETECTED * shown))

    def _parts(self, mask_logits: Tensor, probability: NDArray[np.float32]) -> Iterator[_Part]:
        """Yield the connected objects of a map (h, w)."""
        is_inside = mask_logits.numpy() >= logit(self.segmenter.mask_threshold)
        for window, part in iterate_components(is_inside, min_share=MIN_SHARE):
            yield _Part(window, part, float(probability[window][part].mean()))
