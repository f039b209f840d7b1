"""Choose the draft of a query: its coarse map, detections, a referred object, or the objects under clicks."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from promptseg.detectors.box_selection import Boxes
from promptseg.language.reading import PhraseReading
from promptseg.models.promptseg.coarse import CoarseAnswer, ConceptGroup
from promptseg.models.promptseg.config import PromptSegConfig
from promptseg.models.promptseg.corrections import correct
from promptseg.models.promptseg.detected_objects import (
    DetectedObjects,
    find_people_of_kind,
    regions_of,
    select_objects,
)
from promptseg.models.promptseg.drafts import (
    CoarseDraft,
    CorrectedDraft,
    DetectedDraft,
    Draft,
    Map,
    ObjectsDraft,
    prompt_in_box,
    prompts_in_boxes,
)
from promptseg.models.promptseg.encoded_image import PromptSegImage
from promptseg.models.promptseg.instance_separation import find_touching
from promptseg.models.promptseg.referring_ranking import GroundingInput, SceneCues, choose, texts_to_segment
from promptseg.ops.resize import logit, resize_map
from promptseg.prompts import Query, TextPrompt
from promptseg.sam.base import PromptableSegmenter
from promptseg.sam.geometric_prompts import GeometricPrompts
from promptseg.sam.prompt_batching import ObjectPrompt
from promptseg.sam.query_masks import query_objects
from promptseg.sam.refine import CoarseObject, find_objects, prompt_for

CoarseAnswers = Mapping[ConceptGroup, CoarseAnswer]


@dataclass(frozen=True, eq=False)
class Request:
    """A query with its parsed prompts.

    Attributes:
        query: The original query.
        concepts: Its phrases and exemplars.
        pointed: Its points, boxes and masks, or None.
        reading: Reading of the phrase if the query is exactly one phrase, or None.
    """

    query: Query
    concepts: ConceptGroup
    pointed: GeometricPrompts | None
    reading: PhraseReading | None


class Drafter:
    """Chooses and builds drafts.

    Args:
        config: Config of the model.
        sam: Segments the parts under negative points.
    """

    def __init__(self, config: PromptSegConfig, sam: PromptableSegmenter) -> None:
        self._config = config
        self._settings = config.settings
        self._edge = np.float32(logit(config.mask_threshold))
        self._sam = sam

    def draft(self, request: Request, image: PromptSegImage, coarse: CoarseAnswers) -> Draft:
        """Choose the draft of a request.

        Args:
            request: The request.
            image: The image that it is applied to.
            coarse: Coarse answers to the concept groups of all requests.

        Raises:
            PromptError: The query has negative points only.
        """
        answer = coarse.get(request.concepts)
        if request.pointed is not None:
            return self._draft_pointed(request, request.pointed, answer, image)
        assert answer is not None  # a query without points, boxes and masks has concepts
        if request.reading is not None and image.coarse.detections is not None:
            return self._draft_phrase(request.reading, answer, image, coarse)
        return self._draft_coarse(answer, self._fit_map(answer, image), image)

    def mentions_to_segment(self, reading: PhraseReading, image: PromptSegImage) -> list[PhraseReading]:
        """List the mentions in a referring expression whose maps are needed besides that of the whole phrase."""
        if image.coarse.detections is None:
            return []
        texts = texts_to_segment(reading, self._detected(reading, image))
        return [mention for mention in reading.mentions if mention.text in texts and mention.text != reading.text]

    def _draft_phrase(
        self, reading: PhraseReading, answer: CoarseAnswer, image: PromptSegImage, coarse: CoarseAnswers
    ) -> Draft:
        assert image.coarse.detections is not None
        if reading.expression is not None:
            draft = self._draft_expression(reading, answer, image, coarse)
            if draft is not None:
                return draft
        fitted = self._fit_map(answer, image)
        is_detectable = reading.any_classes or reading.kind_classes
        if not is_detectable or answer.presence < self._settings.least_presence:
            return self._draft_coarse(answer, fitted, image)
        objects = select_objects(reading, image.coarse, fitted > 0, self._settings)
        if len(objects):
            scores = tuple(objects.scores.tolist())
            prompts = prompts_in_boxes(objects, image.size_hw)
            is_chosen_by_map = not reading.exact_classes and reading.person_kind is None
            return DetectedDraft(answer.presence, scores, prompts, fitted if is_chosen_by_map else None)
        detected = DetectedObjects(image.coarse.detections, self._settings.detection)
        return self._draft_coarse(answer, fitted, image, detected.named(reading))

    def _draft_coarse(
        self, answer: CoarseAnswer, coarse: Map, image: PromptSegImage, named: Boxes | None = None
    ) -> CoarseDraft:
        """Draft the coarse map, refined by SAM unless the presence is very low.

        Args:
            answer: Coarse answer to the phrase.
            coarse: Its map, as `_fit_map` gives it.
            image: The image.
            named: Detections of the phrase, which may touch each other, or None.
        """
        is_refined = answer.presence >= self._settings.least_presence
        objects, prompts = self._objects_of(coarse, image) if is_refined else ((), ())
        touching: tuple[ObjectPrompt, ...] = ()
        if named is not None and len(named) > 1 and is_refined:
            chosen = find_touching(coarse, named, self._settings.separation)[: self._settings.detection.max_instances]
            touching = tuple(prompt_in_box(named.boxes_xyxy[index], image.size_hw) for index in chosen)
        return CoarseDraft(
            coarse, answer.presence, answer.mask_quality, objects, prompts, touching, self._settings.refine
        )

    def _draft_pointed(
        self, request: Request, pointed: GeometricPrompts, answer: CoarseAnswer | None, image: PromptSegImage
    ) -> Draft:
        """Draft the objects under the clicks, or the coarse map of the phrase, corrected by the clicks."""
        # If the phrase is absent, its map is meaningless, but the clicks still count.
        counts = answer is not None and (answer.presence >= self._config.presence_threshold or not pointed.has_positive)
        if answer is None or not counts:
            prompts = tuple(query_objects(request.query, pointed, image.frame))
            return ObjectsDraft(1.0, (1.0,) * len(prompts), prompts)
        left = correct(self._fit_map(answer, image), pointed, self._sam, image.sam.get(), self._settings.correction)
        is_gone = left.coarse is None and not left.objects
        objects, prompts = ((), ()) if left.coarse is None else self._objects_of(left.coarse, image)
        return CorrectedDraft(
            coarse=left.coarse,
            removed=left.removed,
            presence=1.0 if pointed.has_positive else 0.0 if is_gone else answer.presence,
            mask_quality=answer.mask_quality,
            objects=objects,
            object_prompts=prompts,
            added=left.objects,
            refine=self._settings.refine,
        )

    def _draft_expression(
        self, reading: PhraseReading, whole: CoarseAnswer, image: PromptSegImage, coarse: CoarseAnswers
    ) -> ObjectsDraft | None:
        """Draft the object of a referring expression; None if there is no candidate."""
        grounding = self.ground(reading, whole, image, coarse)
        if grounding is None:
            return None
        name = _answer_to_name(reading, whole, coarse)
        index = choose(grounding, self._settings.ranking)
        prompt = prompt_in_box(grounding.candidates.boxes_xyxy[index], image.size_hw)
        return ObjectsDraft(name.presence, (name.presence,), (prompt,))

    def ground(
        self, reading: PhraseReading, whole: CoarseAnswer, image: PromptSegImage, coarse: CoarseAnswers
    ) -> GroundingInput | None:
        """Find the candidates of a referring expression; None if there is none.

        Args:
            reading: A reading with an expression.
            whole: Coarse answer to the whole phrase.
            image: An image with detections.
            coarse: Coarse answers to the names in the expression.
        """
        maps = {}
        for mention in reading.mentions:
            # "the one on the left" has a mention without a name, and so without a map
            if mention.text and (found := coarse.get((TextPrompt(mention.text),))) is not None:
                maps[mention.text] = found.mask_logits
        detected = self._detected(reading, image)
        subject = reading.mentions[0]
        people = find_people_of_kind(subject, image.coarse, self._settings)
        candidates = detected[subject.any_classes] if people is None else people
        if not len(candidates):
            name = _answer_to_name(reading, whole, coarse)
            candidates = regions_of(name.mask_logits >= self._edge, self._settings.detection.min_region_share)
        if not len(candidates):
            return None
        return GroundingInput(reading, candidates, SceneCues(detected, maps, image.hsv.get()))

    def _detected(self, reading: PhraseReading, image: PromptSegImage) -> dict[tuple[int, ...], Boxes]:
        """Select the candidates of every name in an expression, by the name's classes."""
        assert image.coarse.detections is not None
        objects = DetectedObjects(image.coarse.detections, self._settings.detection)
        return {mention.any_classes: objects.candidates(mention) for mention in reading.mentions}

    def _objects_of(
        self, coarse: Map, image: PromptSegImage
    ) -> tuple[tuple[CoarseObject, ...], tuple[ObjectPrompt, ...]]:
        """Find the objects of a map for SAM to refine, and a prompt for each."""
        objects = tuple(find_objects(coarse, self._settings.refine))
        prompts = tuple(prompt_for(one, coarse, image.frame, self._settings.refine) for one in objects)
        return objects, prompts

    def _fit_map(self, answer: CoarseAnswer, image: PromptSegImage) -> Map:
        """Resize the coarse map to the size of SAM's maps, and shift it so that it is above 0 inside."""
        fitted: Map = resize_map(answer.mask_logits, image.frame.map_hw) - self._edge
        return fitted


def _answer_to_name(reading: PhraseReading, whole: CoarseAnswer, coarse: CoarseAnswers) -> CoarseAnswer:
    """Return the coarse answer to the subject of an expression, or to the whole phrase if it has no subject."""
    subject = reading.mentions[0].text
    return coarse.get((TextPrompt(subject),), whole) if subject else whole
