"""Inference of the default model: read queries -> coarse maps -> drafts -> one call of SAM -> answers."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from promptseg.language.class_list import NamedClass
from promptseg.models.promptseg.coarse import CoarseAnswer, CoarseImage, CoarseSegmenter, ConceptGroup
from promptseg.models.promptseg.drafting import Drafter, Request
from promptseg.models.promptseg.drafts import Answer, Canvas, Draft
from promptseg.models.promptseg.encoded_image import PromptSegImage, deferred_hsv
from promptseg.models.promptseg.referring_ranking import GroundingInput
from promptseg.models.segment_proposals import propose_segments
from promptseg.ops.deferred import Deferred
from promptseg.ops.resize import logit
from promptseg.prompts import ExemplarPrompt, Query, TextPrompt
from promptseg.sam.base import PromptableSegmenter, SamEmbedding
from promptseg.sam.geometric_prompts import GEOMETRIC_KINDS, read_geometric_prompts
from promptseg.sam.prompt_batching import mask_objects
from promptseg.sam.query_masks import propose_masks
from promptseg.segmenter import Prediction, SegmentProposals, read_text


class PromptSegPipeline:
    """Segments an image by texts, exemplars, points, boxes and masks. Threads may share it.

    The network computes a coarse map of every phrase, in one call for all queries. Each query then becomes a draft:
    the objects of the coarse map, detections of the phrase's class, objects that clicks choose, add or remove, or the
    candidate that a referring expression chooses. SAM segments the objects of all drafts in one call.

    Args:
        coarse: Computes the coarse maps.
        sam: Segments single objects.
    """

    def __init__(self, coarse: CoarseSegmenter, sam: PromptableSegmenter) -> None:
        self._coarse = coarse
        self._sam = sam
        self._config = coarse.config
        self._drafter = Drafter(coarse.config, sam)

    @property
    def prompt_kinds(self) -> frozenset[str]:
        """All five kinds of prompt."""
        return frozenset({"text", "exemplar"}) | GEOMETRIC_KINDS

    @property
    def mask_threshold(self) -> float:
        """Minimum probability of a mask's pixels, coarse or refined."""
        return self._config.mask_threshold

    @property
    def presence_threshold(self) -> float:
        """Minimum presence of a query that counts as found."""
        return self._config.presence_threshold

    @property
    def unsure_threshold(self) -> float:
        """Minimum presence of a query that is shown as unsure."""
        unsure = self._config.unsure_threshold
        return self._config.presence_threshold if unsure is None else unsure

    def encode_image(self, image_rgb: NDArray[np.uint8]) -> PromptSegImage:
        """Encode an image, uint8, shape (H, W, 3), with the network; SAM's encoder runs on first use."""
        return self._image(self._coarse.encode(image_rgb), image_rgb, Deferred(lambda: self._sam.encode(image_rgb)))

    def encode_part(self, image_rgb: NDArray[np.uint8], *, compact: bool) -> PromptSegImage:
        """Encode a view of a larger image, uint8, shape (H, W, 3); `compact`: in half precision.

        Detections are left out, because they separate instances within one view only.
        """
        sam = Deferred(lambda: _compact(self._sam.encode(image_rgb), compact=compact))
        return self._image(self._coarse.encode_part(image_rgb, compact=compact), image_rgb, sam)

    def restore_image(self, arrays: Mapping[str, NDArray[Any]], image_rgb: NDArray[np.uint8]) -> PromptSegImage:
        """Rebuild the record from the result of `PromptSegImage.to_arrays`.

        Raises:
            DataError: An array is missing.
        """
        sam = Deferred(lambda: self._sam.encode(image_rgb))
        if SamEmbedding.is_among(arrays):
            sam = Deferred.of(SamEmbedding.from_arrays(arrays))
        coarse = self._coarse.with_people(CoarseImage.from_arrays(arrays), image_rgb)
        return self._image(coarse, image_rgb, sam)

    def segment(self, image: PromptSegImage, queries: Sequence[Query]) -> Prediction:
        """Segment an encoded image by N queries; the prediction has N entries in the same order.

        Raises:
            PromptError: A prompt is outside the image, or a query has negative points only.
        """
        requests = [self._read(query, image.size_hw) for query in queries]
        coarse = self._segment_coarsely(image, requests)
        drafts = [self._drafter.draft(request, image, coarse) for request in requests]
        prediction = self._predict(self._finish(drafts, image), image)
        return replace(prediction, read_as=tuple(_read_as(request) for request in requests))

    def propose(self, image: PromptSegImage, query: Query) -> Prediction:
        """Return all candidate masks for points, boxes and masks; see `sam.query_masks.propose_masks`."""
        prediction = propose_masks(self._sam, image.sam.get(), query)
        # the threshold of SAM's logits is 0; that of the model's logits is its mask threshold
        return replace(prediction, mask_logits=prediction.mask_logits + np.float32(logit(self.mask_threshold)))

    def propose_segments(
        self, image: PromptSegImage, classes: Sequence[NamedClass], *, presence_threshold: float
    ) -> SegmentProposals:
        """Propose segments for a panoptic map from the answers to the names of the classes."""
        settings = self._config.settings.panoptic
        return propose_segments(self, image, classes, presence_threshold=presence_threshold, settings=settings)

    def ground(self, image: PromptSegImage, phrase: str) -> GroundingInput | None:
        """Find the candidates of a referring expression; None for a plain name or if there is no candidate."""
        request = self._read(Query(phrase, (TextPrompt(phrase),)), image.size_hw)
        if request.reading is None or request.reading.expression is None or image.coarse.detections is None:
            return None
        coarse = self._segment_coarsely(image, [request])
        return self._drafter.ground(request.reading, coarse[request.concepts], image, coarse)

    def _read(self, query: Query, size_hw: tuple[int, int]) -> Request:
        concepts = tuple(prompt for prompt in query.prompts if isinstance(prompt, TextPrompt | ExemplarPrompt))
        if len(concepts) < len(query.prompts):
            return Request(query, concepts, read_geometric_prompts(query, size_hw), None)
        phrase = read_text(query)
        return Request(query, concepts, None, None if phrase is None else self._coarse.reader.read(phrase))

    def _segment_coarsely(self, image: PromptSegImage, requests: Sequence[Request]) -> dict[ConceptGroup, CoarseAnswer]:
        """Segment all concept groups of the requests, and the names in their referring expressions, in one call."""
        groups: dict[ConceptGroup, None] = dict.fromkeys(one.concepts for one in requests if one.concepts)
        readings = {}
        for request in requests:
            for concept in request.concepts:
                if isinstance(concept, TextPrompt):
                    readings[concept.text] = request.reading or self._coarse.reader.read(concept.text)
            if request.reading is not None and request.reading.expression is not None:
                for mention in self._drafter.mentions_to_segment(request.reading, image):
                    groups[(TextPrompt(mention.text),)] = None
                    readings.setdefault(mention.text, mention)
        requested = list(groups)
        return dict(zip(requested, self._coarse.segment(image.coarse, requested, readings), strict=True))

    def _finish(self, drafts: Sequence[Draft], image: PromptSegImage) -> list[Answer]:
        prompts = [prompt for draft in drafts for prompt in draft.prompts]
        masks = mask_objects(self._sam, image.sam.get(), prompts) if prompts else []
        settings = self._config.settings
        canvas = Canvas(image.size_hw, logit(self.mask_threshold), settings.separation, settings.cleaning)
        answers, start = [], 0
        for draft in drafts:
            stop = start + len(draft.prompts)
            answers.append(draft.finish(masks[start:stop], canvas))
            start = stop
        return answers

    def _predict(self, answers: Sequence[Answer], image: PromptSegImage) -> Prediction:
        if not answers:
            return Prediction.empty()
        edge = np.float32(logit(self.mask_threshold))
        return Prediction(
            np.stack([answer.mask_logits for answer in answers]) + edge,
            np.array([answer.presence for answer in answers], dtype=np.float32),
            np.array([answer.mask_quality for answer in answers], dtype=np.float32),
            tuple(answer.instances for answer in answers),
        )

    def _image(self, coarse: CoarseImage, image_rgb: NDArray[np.uint8], sam: Deferred[SamEmbedding]) -> PromptSegImage:
        size_hw = (image_rgb.shape[0], image_rgb.shape[1])
        return PromptSegImage(size_hw, coarse, self._sam.frame(size_hw), sam, deferred_hsv(image_rgb))


def _read_as(request: Request) -> str | None:
    """Return what the phrase of a request was taken as; of a referring expression, what its subject was."""
    if request.reading is None:
        return None
    return request.reading.mentions[0].read_as if request.reading.mentions else request.reading.read_as


def _compact(embedding: SamEmbedding, *, compact: bool) -> SamEmbedding:
    return embedding.in_half_precision() if compact else embedding
