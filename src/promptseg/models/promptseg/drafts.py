"""Intermediate results before SAM: drafts of four kinds. Each holds prompts for SAM and computes the answer.

Maps are logits of shape (h, w) = `Frame.map_hw`, above 0 where the object is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from promptseg.detectors.box_selection import Boxes
from promptseg.models.promptseg.cleaning import clean_object, clean_objects
from promptseg.models.promptseg.instance_separation import segment_boxes, separate_touching
from promptseg.models.promptseg.settings import CleaningSettings, SeparationSettings
from promptseg.ops.resize import sigmoid
from promptseg.results import Instance
from promptseg.sam.base import OUTSIDE_LOGIT
from promptseg.sam.prompt_batching import ObjectMasks, ObjectPrompt
from promptseg.sam.query_masks import draw_instance, mean_quality, merge_masks
from promptseg.sam.refine import CLEARED_LOGIT, CoarseObject, merge_refined
from promptseg.sam.refine_settings import RefineSettings

Map = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Answer:
    """The answer to one query.

    Attributes:
        mask_logits: Logits over the image, above 0 inside.
        presence: Probability that the object is in the image.
        mask_quality: Predicted IoU of the mask.
        instances: Instances, best first; None: the connected regions of the mask.
    """

    mask_logits: Map
    presence: float
    mask_quality: float
    instances: tuple[Instance, ...] | None = None


@dataclass(frozen=True, eq=False)
class Canvas:
    """Properties that all drafts of an image need to compute instances.

    Attributes:
        size_hw: Height and width of the image, pixels.
        mask_edge: Logit of the network's mask threshold; the threshold of SAM's logits is 0.
        separation: Settings for the separation of touching instances.
        cleaning: Which small islands and holes of masks are removed.
    """

    size_hw: tuple[int, int]
    mask_edge: float
    separation: SeparationSettings
    cleaning: CleaningSettings


@dataclass(frozen=True, eq=False)
class CoarseDraft:
    """The coarse map of a phrase, with objects for SAM to refine.

    Attributes:
        coarse: The map.
        presence: Presence of the phrase.
        mask_quality: Mask quality that the network predicts.
        objects: Objects of the map for SAM to refine; if there are none, the map stays as it is.
        object_prompts: One prompt per object.
        touching: Prompts of detected instances of the phrase that share a region of the map.
        refine: Conditions under which SAM's mask replaces the coarse one.
    """

    coarse: Map
    presence: float
    mask_quality: float
    objects: tuple[CoarseObject, ...]
    object_prompts: tuple[ObjectPrompt, ...]
    touching: tuple[ObjectPrompt, ...]
    refine: RefineSettings

    @property
    def prompts(self) -> tuple[ObjectPrompt, ...]:
        """Prompts for SAM."""
        return (*self.object_prompts, *self.touching)

    def finish(self, masks: Sequence[ObjectMasks], canvas: Canvas) -> Answer:
        """Compute the answer from SAM's masks, one per prompt."""
        refined, touching = masks[: len(self.objects)], masks[len(self.objects) :]
        merged = clean_objects(merge_refined(self.coarse, self.objects, refined, self.refine), canvas.cleaning)
        instances = None
        if touching:
            instances = separate_touching(
                merged + np.float32(canvas.mask_edge),
                [one.mask_logits[0] for one in touching],
                canvas.size_hw,
                edge=canvas.mask_edge,
                presence=self.presence,
                settings=canvas.separation,
            )
        return Answer(merged, self.presence, self.mask_quality, instances)


@dataclass(frozen=True, eq=False)
class DetectedDraft:
    """The detections of a class that a phrase names; their masks are the instances and, joined, the mask.

    Several kinds of a class, as "pedestrian" and "bicyclist", may mean the same detection, and SAM's masks of it are
    equal. So the logits of each object are scaled by the probability that the phrase's map gives it: outlines stay, and
    the kind that fits best has the highest probability.

    Attributes:
        presence: Presence of the phrase.
        scores: Detection scores.
        prompts: One box prompt per detection.
        coarse: The phrase's map, if it chose the detections.
    """

    presence: float
    scores: tuple[float, ...]
    prompts: tuple[ObjectPrompt, ...]
    coarse: Map | None = None

    def finish(self, masks: Sequence[ObjectMasks], canvas: Canvas) -> Answer:
        """Compute the answer from SAM's masks, one per prompt."""
        own = [clean_object(one.mask_logits[0], canvas.cleaning) for one in masks]
        if self.coarse is not None:
            own = [_scale_by_fit(one, self.coarse, canvas.mask_edge) for one in own]
        qualities = [float(one.scores[0]) for one in masks]
        instances = segment_boxes(own, self.scores, qualities, canvas.size_hw, canvas.separation)
        return Answer(np.maximum.reduce(own), self.presence, float(np.mean(qualities)), instances)


@dataclass(frozen=True, eq=False)
class ObjectsDraft:
    """Objects under clicks, or the object of a referring expression.

    Attributes:
        presence: 1 for clicks; for a referring expression, the presence of its name.
        scores: Scores of the objects.
        prompts: One prompt per object.
    """

    presence: float
    scores: tuple[float, ...]
    prompts: tuple[ObjectPrompt, ...]

    def finish(self, masks: Sequence[ObjectMasks], canvas: Canvas) -> Answer:
        """Compute the answer from SAM's masks, one per prompt."""
        instances = tuple(
            draw_instance(one, canvas.size_hw, score=score) for one, score in zip(masks, self.scores, strict=True)
        )
        return Answer(
            merge_masks(masks),
            self.presence,
            mean_quality(masks),
            instances,
        )


@dataclass(frozen=True, eq=False)
class CorrectedDraft:
    """The coarse map of a phrase, corrected by clicks, and the objects that the clicks chose or added.

    Attributes:
        coarse: Remaining map; None: nothing remains.
        removed: Pixels that the clicks removed, bool, shape (h, w).
        presence: Presence of the phrase; 1 if there is a positive click, 0 if nothing remains.
        mask_quality: Mask quality that the network predicts.
        objects: Objects of the map for SAM to refine.
        object_prompts: One prompt per object of the map.
        added: Prompts of the objects that the clicks chose or added.
        refine: Conditions under which SAM's mask replaces the coarse one.
    """

    coarse: Map | None
    removed: NDArray[np.bool_]
    presence: float
    mask_quality: float
    objects: tuple[CoarseObject, ...]
    object_prompts: tuple[ObjectPrompt, ...]
    added: tuple[ObjectPrompt, ...]
    refine: RefineSettings

    @property
    def prompts(self) -> tuple[ObjectPrompt, ...]:
        """Prompts for SAM."""
        return (*self.object_prompts, *self.added)

    def finish(self, masks: Sequence[ObjectMasks], canvas: Canvas) -> Answer:
        """Compute the answer from SAM's masks, one per prompt."""
        refined, added = masks[: len(self.objects)], masks[len(self.objects) :]
        maps = [one.mask_logits[0] for one in added]
        if self.coarse is not None:
            merged = merge_refined(self.coarse, self.objects, refined, self.refine)
            maps.append(np.where(self.removed, np.float32(CLEARED_LOGIT), merged))
        if not maps:
            return Answer(np.full_like(self.removed, OUTSIDE_LOGIT, dtype=np.float32), self.presence, self.mask_quality)
        quality = mean_quality(added) if added else self.mask_quality
        # instances of objects that no click chose are unknown: use connected regions
        instances = None if self.coarse is not None else tuple(draw_instance(one, canvas.size_hw) for one in added)
        return Answer(np.maximum.reduce(maps), self.presence, quality, instances)


def _scale_by_fit(mask_logits: Map, coarse: Map, mask_edge: float) -> Map:
    """Scale an object's logits by the mean probability that a map gives to its inside."""
    inside = mask_logits > 0
    if not inside.any():
        return mask_logits
    return mask_logits * sigmoid(coarse[inside] + np.float32(mask_edge)).mean()


Draft: TypeAlias = CoarseDraft | DetectedDraft | ObjectsDraft | CorrectedDraft


def prompt_in_box(box_xyxy: NDArray[np.float64], size_hw: tuple[int, int]) -> ObjectPrompt:
    """Build a SAM prompt for the object in a box; box: shares of the image's sides, shape (4,)."""
    left, top, right, bottom = (box_xyxy * np.tile(np.array(size_hw[::-1]), 2)).tolist()
    return ObjectPrompt.in_box((left, top, right, bottom))


def prompts_in_boxes(boxes: Boxes, size_hw: tuple[int, int]) -> tuple[ObjectPrompt, ...]:
    """Build a SAM prompt for the object in each box."""
    return tuple(prompt_in_box(box_xyxy, size_hw) for box_xyxy in boxes.boxes_xyxy)
