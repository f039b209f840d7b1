"""From the geometric prompts of a query to the masks of its objects, without any phrase."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from promptseg.errors import PromptError
from promptseg.ops.resize import resize_map
from promptseg.prompts import Query
from promptseg.results import Instance
from promptseg.sam.base import Frame, PromptableSegmenter, SamEmbedding
from promptseg.sam.geometric_prompts import GeometricPrompts, object_prompts, read_geometric_prompts
from promptseg.sam.prompt_batching import ObjectMasks, ObjectPrompt, mask_objects
from promptseg.segmenter import Prediction


def query_objects(query: Query, prompts: GeometricPrompts | None, frame: Frame) -> list[ObjectPrompt]:
    """Give a prompt for each object of a query, one or more.

    Args:
        query: Named in the error.
        prompts: Its points, boxes and masks.
        frame: Of the image.

    Raises:
        PromptError: Nothing of it lies on an object.
    """
    objects = [] if prompts is None else object_prompts(prompts, frame)
    if not objects:
        raise PromptError(
            f"{query.label!r} only says where the object is not: add a point on it, a box, a mask or a phrase"
        )
    return objects


def segment_queries(sam: PromptableSegmenter, embedding: SamEmbedding, queries: Sequence[Query]) -> Prediction:
    """Mask the objects of N queries of points, boxes and masks.

    An object with a prompt on it is there: presence and the scores of instances are 1.

    Raises:
        PromptError: A prompt is outside the image, or nothing of a query lies on an object.
    """
    size_hw = embedding.size_hw
    objects = [query_objects(query, read_geometric_prompts(query, size_hw), embedding.frame) for query in queries]
    masks = iter(mask_objects(sam, embedding, [each for of_query in objects for each in of_query]))
    found = [[next(masks) for _ in of_query] for of_query in objects]
    return Prediction(
        mask_logits=stack_maps([merge_masks(each) for each in found], embedding.frame),
        presence=np.ones(len(found), np.float32),
        mask_quality=np.array([mean_quality(each) for each in found], np.float32),
        instances=tuple(tuple(draw_instance(each, size_hw) for each in of_query) for of_query in found),
    )


def propose_masks(sam: PromptableSegmenter, embedding: SamEmbedding, query: Query) -> Prediction:
    """Give SAM's candidates for the one object of a query (a part, the whole, a group, ...), the best first.

    Raises:
        PromptError: As `segment_queries`, or the query has several objects.
    """
    size_hw = embedding.size_hw
    objects = query_objects(query, read_geometric_prompts(query, size_hw), embedding.frame)
    if len(objects) > 1:
        raise PromptError(f"{query.label!r} points at {len(objects)} objects: candidates are for one at a time")
    (found,) = mask_objects(sam, embedding, objects, choice="levels")
    candidates = [ObjectMasks(*one) for one in zip(found.mask_logits[:, None], found.scores[:, None], strict=True)]
    return Prediction(
        mask_logits=found.mask_logits,
        presence=np.ones(len(candidates), np.float32),
        mask_quality=found.scores,
        instances=tuple((draw_instance(each, size_hw),) for each in candidates),
    )


def merge_masks(found: Sequence[ObjectMasks]) -> NDArray[np.float32]:
    """Join the best masks of the objects of a query: logits, shape (h, w)."""
    return np.maximum.reduce([each.mask_logits[0] for each in found])


def mean_quality(found: Sequence[ObjectMasks]) -> float:
    """Average the predicted IoU of the best masks of a query's objects."""
    return float(np.mean([each.scores[0] for each in found]))


def stack_maps(maps: Sequence[NDArray[np.float32]], frame: Frame) -> NDArray[np.float32]:
    """Stack maps (h, w) to (N, h, w), also where there are none."""
    return np.stack(maps) if maps else np.zeros((0, *frame.map_hw), np.float32)


def draw_instance(found: ObjectMasks, size_hw: tuple[int, int], *, score: float = 1.0) -> Instance:
    """Draw the best mask of an object at the image's size, with SAM's estimate as its mask quality."""
    logits = resize_map(found.mask_logits[0], size_hw)
    return Instance.from_mask(logits >= 0, score, float(found.scores[0]))
