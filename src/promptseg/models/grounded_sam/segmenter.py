"""A detector and a masker in a row: phrases give boxes, every box gives one object's mask.

Source:
    The pipeline of Liu et al. 2023 (arXiv:2303.05499) and Kirillov et al. 2023 (arXiv:2304.02643) as
    luca-medeiros/lang-segment-anything (Apache-2.0) joins them; the code is ours.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from promptseg.detectors.base import Detections, Detector, Thresholds
from promptseg.prompts import Query
from promptseg.results import Instance
from promptseg.sam.base import OUTSIDE_LOGIT, Masker, MaskerOutput
from promptseg.sam.features import PREFIX, pack_masker, unpack_masker
from promptseg.segmenter import Features, Prediction, single_texts


@dataclass(frozen=True)
class Grounding:
    """Boxes and the mask of what is in each.

    Attributes:
        detections: M boxes, best first.
        output: One mask for each box.
    """

    detections: Detections
    output: MaskerOutput

    def masks(self) -> Iterator[NDArray[np.bool_]]:
        """Yield the M masks at the image's own size, (H, W), one at a time to save memory."""
        for one in self.output.mask_logits[:, 0]:
            yield (self.output.frame.maps_to_image(one[None])[0] > 0).numpy()


class GroundedSegmenter:
    """Text in; every object of every phrase out, with box, mask and score.

    The image is encoded by both parts when it is encoded. A phrase's presence is the detector's best score for it
    anywhere in the image, an object's score that of its box.

    Args:
        detector: Proposes boxes.
        masker: Draws what is in them.
        thresholds: None: the detector's own.
    """

    def __init__(self, detector: Detector, masker: Masker, thresholds: Thresholds | None = None) -> None:
        self.detector = detector
        self.masker = masker
        self.thresholds = thresholds

    @property
    def prompt_kinds(self) -> frozenset[str]:
        """Text alone."""
        return frozenset({"text"})

    @property
    def mask_threshold(self) -> float:
        """A masker's logits part at probability one half."""
        return 0.5

    @property
    def presence_threshold(self) -> float:
        """The box threshold where the user set one, else the detector's own."""
        return self.thresholds.box if self.thresholds else self.detector.presence_threshold

    def encode_image(self, image_rgb: NDArray[np.uint8]) -> Features:
        """Encode an image, uint8, shape (H, W, 3), for both."""
        return {**self.detector.encode_image(image_rgb), **pack_masker(self.masker.encode(image_rgb))}

    @torch.inference_mode()
    def ground(
        self,
        features: Features,
        phrases: Sequence[str],
        size_hw: tuple[int, int],
        thresholds: Thresholds | None = None,
    ) -> Grounding:
        """Find the objects of phrases in an encoded image; arguments as `detectors.base.Detector.detect`."""
        seen = {name: value for name, value in features.items() if not name.startswith(PREFIX)}
        detections = self.detector.detect(seen, phrases, size_hw, thresholds or self.thresholds)
        embedding = unpack_masker(features)
        if len(detections.boxes_xyxy):
            output = self.masker.segment(embedding, boxes_xyxy=detections.boxes_xyxy)
        else:
            output = MaskerOutput(torch.zeros(0, 1, 1, 1), torch.zeros(0, 1), embedding.frame)
        return Grounding(detections, output)

    @torch.inference_mode()
    def segment(self, features: Features, queries: Sequence[Query], size_hw: tuple[int, int]) -> Prediction:
        """Segment an encoded image of the given original size by texts; N queries give N answers, in order."""
        texts = single_texts(queries)
        if not texts:
            return Prediction(torch.zeros(0, 1, 1), torch.zeros(0), torch.zeros(0), ())
        # Asked twice, a phrase is looked for once, and its boxes belong to both.
        phrases = list(dict.fromkeys(texts))
        grounding = self.ground(features, phrases, size_hw)
        detections, frame = grounding.detections, grounding.output.frame
        objects: list[list[Instance]] = [[] for _ in phrases]
        logits = torch.full((len(phrases), *frame.map_hw), OUTSIDE_LOGIT)
        iou = torch.zeros(len(phrases))
        small = frame.maps_to_image(grounding.output.mask_logits[:, 0], frame.map_hw)
        for box_index, mask in enumerate(grounding.masks()):
            phrase = int(detections.phrase_index[box_index])
            objects[phrase].append(Instance.from_mask(mask, float(detections.scores[box_index])))
            logits[phrase] = torch.maximum(logits[phrase], small[box_index])
            iou[phrase] = torch.maximum(iou[phrase], grounding.output.scores[box_index, 0].clamp(0, 1))
        order = [phrases.index(text) for text in texts]
        return Prediction(
            logits[order], detections.peaks[order], iou[order], tuple(tuple(objects[index]) for index in order)
        )
