"""Segment with the network of the default model alone, without SAM: coarse masks of phrases and exemplars."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from promptseg.detectors.base import PhraseBoxes
from promptseg.detectors.box_selection import Boxes, box_regions
from promptseg.models.promptseg.coarse import CoarseAnswer, CoarseImage, CoarseSegmenter
from promptseg.models.promptseg.detected_objects import select_objects
from promptseg.ops.resize import sigmoid
from promptseg.prompts import Query, TextPrompt
from promptseg.results import MIN_INSTANCE_SHARE
from promptseg.segmenter import Arrays, Prediction, read_concepts


@dataclass(frozen=True, eq=False)
class CoarseOnlyImage:
    """An encoded image.

    Attributes:
        size_hw: Height and width of the image, pixels.
        coarse: Output of the network's image encoder.
    """

    size_hw: tuple[int, int]
    coarse: CoarseImage

    def to_arrays(self) -> Arrays:
        """Return the parts as named arrays."""
        return self.coarse.to_arrays()


class TextAndExemplarSegmenter:
    """Segments an image by phrases and exemplars. Threads may share it.

    Args:
        coarse: Computes the coarse maps.
    """

    prompt_kinds = frozenset({"text", "exemplar"})

    def __init__(self, coarse: CoarseSegmenter) -> None:
        self._coarse = coarse

    @property
    def mask_threshold(self) -> float:
        """Minimum probability of a mask's pixels."""
        return self._coarse.config.mask_threshold

    @property
    def presence_threshold(self) -> float:
        """Minimum presence of a query that counts as found."""
        return self._coarse.config.presence_threshold

    @property
    def unsure_threshold(self) -> float:
        """Minimum presence of a query that is shown as unsure."""
        unsure = self._coarse.config.unsure_threshold
        return self._coarse.config.presence_threshold if unsure is None else unsure

    def encode_image(self, image_rgb: NDArray[np.uint8]) -> CoarseOnlyImage:
        """Encode an image, uint8, shape (H, W, 3)."""
        return CoarseOnlyImage((image_rgb.shape[0], image_rgb.shape[1]), self._coarse.encode(image_rgb))

    def encode_part(self, image_rgb: NDArray[np.uint8], *, compact: bool) -> CoarseOnlyImage:
        """Encode a view of a larger image, uint8, shape (H, W, 3), without detections; `compact`: as float16."""
        coarse = self._coarse.encode_part(image_rgb, compact=compact)
        return CoarseOnlyImage((image_rgb.shape[0], image_rgb.shape[1]), coarse)

    def restore_image(self, arrays: Mapping[str, NDArray[Any]], image_rgb: NDArray[np.uint8]) -> CoarseOnlyImage:
        """Rebuild the record from the result of `CoarseOnlyImage.to_arrays`.

        Raises:
            DataError: An array is missing.
        """
        coarse = self._coarse.with_people(CoarseImage.from_arrays(arrays), image_rgb)
        return CoarseOnlyImage((image_rgb.shape[0], image_rgb.shape[1]), coarse)

    def segment(self, image: CoarseOnlyImage, queries: Sequence[Query]) -> Prediction:
        """Segment an encoded image by N queries of phrases and exemplars.

        Raises:
            UnsupportedPromptError: A query holds another kind of prompt.
        """
        if not queries:
            return Prediction.empty()
        groups = [read_concepts(query) for query in queries]
        phrases = {one.text for group in groups for one in group if isinstance(one, TextPrompt)}
        readings = {phrase: self._coarse.reader.read(phrase) for phrase in phrases}
        answers = self._coarse.segment(image.coarse, groups, readings)
        return Prediction(
            np.stack([answer.mask_logits for answer in answers]),
            np.array([answer.presence for answer in answers], dtype=np.float32),
            np.array([answer.mask_quality for answer in answers], dtype=np.float32),
            read_as=tuple(
                readings[group[0].text].read_as if len(group) == 1 and isinstance(group[0], TextPrompt) else None
                for group in groups
            ),
        )

    def find_boxes(self, image: CoarseOnlyImage, phrases: Sequence[str]) -> list[PhraseBoxes]:
        """Find the boxes of each phrase's instances: detections of its class, or else connected regions of its mask.

        Detections are chosen as in `PromptSegPipeline.segment`, and have the same scores.
        """
        config = self._coarse.config
        readings = {phrase: self._coarse.reader.read(phrase) for phrase in phrases}
        answers = self._coarse.segment(image.coarse, [(TextPrompt(phrase),) for phrase in phrases], readings)
        height, width = image.size_hw
        found = []
        for phrase, answer in zip(phrases, answers, strict=True):
            inside = sigmoid(answer.mask_logits) >= config.mask_threshold
            boxes = select_objects(readings[phrase], image.coarse, inside, config.settings)
            if not len(boxes):
                boxes = _boxes_of_regions(answer, config.mask_threshold)
            sides = np.array([width, height, width, height])
            found.append(PhraseBoxes(boxes.boxes_xyxy * sides, boxes.scores, answer.presence))
        return found


def _boxes_of_regions(answer: CoarseAnswer, mask_threshold: float) -> Boxes:
    """Find the connected regions of a map; the score of each is its mean probability times the presence."""
    probability = sigmoid(answer.mask_logits)
    regions = box_regions(probability >= mask_threshold, probability, min_share=MIN_INSTANCE_SHARE)
    return replace(regions, scores=regions.scores * answer.presence)
