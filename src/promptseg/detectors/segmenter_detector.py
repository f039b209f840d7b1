"""Any text segmenter as a detector: the boxes that it finds for a phrase, or those around the objects of its masks."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from promptseg.detectors.base import BoxFinder, Detections, PhraseBoxes, Thresholds, collect
from promptseg.detectors.box_selection import box_regions
from promptseg.ops.resize import logit, sigmoid
from promptseg.prompts import Query, TextPrompt
from promptseg.results import MIN_INSTANCE_SHARE
from promptseg.segmenter import EncodedImage, Segmenter

# Objects smaller than this share of the largest one of their phrase are specks of its mask.


class SegmenterDetector:
    """A detector; see `detectors.base.Detector` for its methods.

    Where the segmenter is a `BoxFinder`, boxes and scores are its own. Else a box is that of a connected object of a
    mask, and its score the mean probability inside times the presence of its phrase, as in `QueryResult.instances`.
    Phrases are segmented one by one: they may overlap, and none changes another's boxes.

    Args:
        segmenter: Takes texts.
    """

    def __init__(self, segmenter: Segmenter[Any]) -> None:
        self.segmenter = segmenter

    @property
    def thresholds(self) -> Thresholds:
        """Every box of a `BoxFinder`; else the least score of a mask that the segmenter calls present."""
        if isinstance(self.segmenter, BoxFinder):
            return Thresholds(box=0.0)
        return Thresholds(box=self.segmenter.presence_threshold * self.segmenter.mask_threshold)

    @property
    def presence_threshold(self) -> float:
        """The segmenter's own."""
        return self.segmenter.presence_threshold

    def encode_image(self, image_rgb: NDArray[np.uint8]) -> EncodedImage:
        """Encode an image, uint8, shape (H, W, 3)."""
        encoded: EncodedImage = self.segmenter.encode_image(image_rgb)
        return encoded

    def restore_image(self, arrays: Mapping[str, NDArray[Any]], image_rgb: NDArray[np.uint8]) -> EncodedImage:
        """Make the encoded image again; arguments and errors as `detectors.base.Detector.restore_image`."""
        encoded: EncodedImage = self.segmenter.restore_image(arrays, image_rgb)
        return encoded

    def detect(self, image: EncodedImage, phrases: Sequence[str], thresholds: Thresholds | None = None) -> Detections:
        """Detect phrases in an encoded image; arguments and errors as `detectors.base.Detector.detect`."""
        if isinstance(self.segmenter, BoxFinder):
            found = self.segmenter.find_boxes(image, phrases)
        else:
            found = self._box_masks(image, phrases)
        phrase_index = np.repeat(np.arange(len(found)), [len(each.scores) for each in found])
        boxes_xyxy = np.concatenate([np.zeros((0, 4)), *(each.boxes_xyxy for each in found)])
        scores = np.concatenate([np.zeros(0), *(each.scores for each in found)])
        kept = scores >= (thresholds or self.thresholds).box
        peaks = np.array([each.presence for each in found])
        return collect(boxes_xyxy[kept], scores[kept], phrase_index[kept], peaks, image.size_hw)

    def _box_masks(self, image: EncodedImage, phrases: Sequence[str]) -> list[PhraseBoxes]:
        queries = [Query(phrase, (TextPrompt(phrase),)) for phrase in phrases]
        prediction = self.segmenter.segment(image, queries)
        found = []
        for mask_logits, presence in zip(prediction.mask_logits, prediction.presence.tolist(), strict=True):
            is_inside = mask_logits >= logit(self.segmenter.mask_threshold)
            regions = box_regions(is_inside, sigmoid(mask_logits), min_share=MIN_INSTANCE_SHARE)
            to_image = np.tile(np.array(image.size_hw[::-1]), 2)
            found.append(PhraseBoxes(regions.boxes_xyxy * to_image, regions.scores * presence, presence))
        return found
