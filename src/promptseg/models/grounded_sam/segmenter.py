"""Detect the boxes of phrases, then segment the object in every box with SAM.

Source:
    The pipeline of Liu et al. 2023 (arXiv:2303.05499) and Kirillov et al. 2023 (arXiv:2304.02643) as
    luca-medeiros/lang-segment-anything (Apache-2.0) joins them; the code is ours.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from promptseg.detectors.base import Detections, Detector, Thresholds
from promptseg.ops.deferred import Deferred
from promptseg.prompts import Query
from promptseg.results import Instance
from promptseg.sam.base import OUTSIDE_LOGIT, PromptableSegmenter, SamEmbedding, SamOutput
from promptseg.segmenter import Arrays, EncodedImage, Prediction, single_texts


@dataclass(frozen=True, eq=False)
class GroundedImage:
    """An encoded image.

    Attributes:
        detected: Embedding of the detector.
        sam: Embedding of SAM, computed for the first box.
    """

    detected: EncodedImage
    sam: Deferred[SamEmbedding]

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width of the image, pixels."""
        return self.detected.size_hw

    def to_arrays(self) -> Arrays:
        """Return both embeddings as named arrays."""
        return {**self.detected.to_arrays(), **self.sam.get().to_arrays()}

    def compute_deferred(self) -> None:
        """Run SAM's encoder."""
        self.sam.get()


@dataclass(frozen=True, eq=False)
class Grounding:
    """Boxes and a mask in each.

    Attributes:
        detections: M boxes, best first.
        output: One mask per box; None if there are no boxes.
    """

    detections: Detections
    output: SamOutput | None

    @property
    def mask_scores(self) -> NDArray[np.float32]:
        """IoU of each mask as SAM predicts it, shape (M,)."""
        return np.zeros(0, np.float32) if self.output is None else self.output.scores[:, 0]

    def masks(self) -> Iterator[NDArray[np.bool_]]:
        """Yield the M masks at image size, bool, shape (H, W), one at a time to save memory."""
        if self.output is not None:
            for mask_logits in self.output.mask_logits[:, 0]:
                yield self.output.frame.maps_to_image(mask_logits) > 0


class GroundedSegmenter:
    """Segment all instances of phrases; see `promptseg.segmenter.Segmenter` for its methods.

    The presence of a phrase is the detector's best score for it in the image; the score of an instance is that of its
    box.

    Args:
        detector: Finds the boxes of phrases.
        sam: Segments the objects in the boxes.
        thresholds: Minimum scores; None: those of the detector.
    """

    prompt_kinds = frozenset({"text"})
    mask_threshold = 0.5

    def __init__(self, detector: Detector[Any], sam: PromptableSegmenter, thresholds: Thresholds | None = None) -> None:
        self.detector = detector
        self.sam = sam
        self.thresholds = thresholds

    @property
    def presence_threshold(self) -> float:
        """The box threshold if it is set, else the threshold of the detector."""
        return self.thresholds.box if self.thresholds else self.detector.presence_threshold

    def encode_image(self, image_rgb: NDArray[np.uint8]) -> GroundedImage:
        """Encode an image, uint8, shape (H, W, 3), for the detector and, on first use, for SAM."""
        return GroundedImage(self.detector.encode_image(image_rgb), Deferred(lambda: self.sam.encode(image_rgb)))

    def encode_part(self, image_rgb: NDArray[np.uint8], *, compact: bool) -> GroundedImage:
        """Encode a view of a larger image, uint8, shape (H, W, 3); `compact`: SAM's part in half precision."""
        if not compact:
            return self.encode_image(image_rgb)
        sam = Deferred(lambda: self.sam.encode(image_rgb).in_half_precision())
        return GroundedImage(self.detector.encode_image(image_rgb), sam)

    def restore_image(self, arrays: Mapping[str, NDArray[Any]], image_rgb: NDArray[np.uint8]) -> GroundedImage:
        """Rebuild the record from the result of `GroundedImage.to_arrays`.

        Raises:
            DataError: An array is missing.
        """
        sam = Deferred.of(SamEmbedding.from_arrays(arrays))
        return GroundedImage(self.detector.restore_image(arrays, image_rgb), sam)

    def ground(self, image: GroundedImage, phrases: Sequence[str], thresholds: Thresholds | None = None) -> Grounding:
        """Detect and segment the objects of phrases; arguments and errors as `detectors.base.Detector.detect`."""
        detections = self.detector.detect(image.detected, phrases, thresholds or self.thresholds)
        if not len(detections.scores):
            return Grounding(detections, None)
        return Grounding(detections, self.sam.segment(image.sam.get(), boxes_xyxy=detections.boxes_xyxy))

    def segment(self, image: GroundedImage, queries: Sequence[Query]) -> Prediction:
        """Segment an encoded image by N queries of one phrase each; the prediction has N entries in the same order.

        Raises:
            UnsupportedPromptError: A query is not one phrase.
        """
        texts = single_texts(queries)
        if not texts:
            return Prediction.empty()
        # A repeated phrase is detected once, and its boxes belong to all of its queries.
        phrases = list(dict.fromkeys(texts))
        grounding = self.ground(image, phrases)
        objects: list[list[Instance]] = [[] for _ in phrases]
        quality = np.zeros(len(phrases), np.float32)
        detections, mask_quality = grounding.detections, grounding.mask_scores.clip(0, 1)
        found = zip(detections.phrase_index.tolist(), detections.scores.tolist(), mask_quality.tolist(), strict=True)
        for mask, (phrase, score, own_quality) in zip(grounding.masks(), found, strict=True):
            objects[phrase].append(Instance.from_mask(mask, score, own_quality))
            quality[phrase] = max(quality[phrase], own_quality)
        logits = _merge_maps(grounding, len(phrases))
        order = [phrases.index(text) for text in texts]
        return Prediction(
            logits[order], detections.peaks[order], quality[order], tuple(tuple(objects[index]) for index in order)
        )


def _merge_maps(grounding: Grounding, num_phrases: int) -> NDArray[np.float32]:
    """Join the masks of each phrase: logits over the image, shape (N, h, w)."""
    output = grounding.output
    if output is None:
        return np.full((num_phrases, 1, 1), OUTSIDE_LOGIT, np.float32)
    merged = np.full((num_phrases, *output.frame.map_hw), OUTSIDE_LOGIT, np.float32)
    maps = output.frame.maps_to_image(output.mask_logits[:, 0], output.frame.map_hw)
    np.maximum.at(merged, grounding.detections.phrase_index, maps)
    return merged
