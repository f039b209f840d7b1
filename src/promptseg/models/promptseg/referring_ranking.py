"""Rank the candidates of a referring expression.

Each candidate is an object with the expression's name. Four cues are measured for it: detection score, color, relations
to other objects, and position among the candidates. Most cues are standardized over the candidates, so that their units
do not matter. The weighted sum of the cues is a logit; its softmax over the candidates is the probability that the
expression refers to the candidate. The other object of a relation is ranked in the same way, and the relation is
averaged over its candidates.

Shapes: M candidates, A candidates for the other object of a relation. Boxes are shares of the image's sides.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from promptseg.detectors.box_selection import Boxes
from promptseg.language.expression import Predicate, ReferringExpression, Relation
from promptseg.language.reading import PhraseReading
from promptseg.language.spatial import SpatialConstraint
from promptseg.models.promptseg.color_cue import Hsv, color_shares
from promptseg.models.promptseg.settings import RankingSettings
from promptseg.ops.boxes import box_areas, pairwise_box_iou

Map = NDArray[np.float32]

CUES = ("score", "color", "relation", "spatial")


def cue_weights(settings: RankingSettings) -> NDArray[np.float64]:
    """Return the weights of the cues in the order of `CUES`, shape (len(CUES),)."""
    return np.array([getattr(settings, f"{cue}_weight") for cue in CUES], dtype=np.float64)


def with_weights(settings: RankingSettings, weights: NDArray[np.float64]) -> RankingSettings:
    """Copy settings with other weights, in the order of `CUES`, shape (len(CUES),)."""
    return replace(settings, **{f"{cue}_weight": float(one) for cue, one in zip(CUES, weights, strict=True)})


@dataclass(frozen=True, eq=False)
class SceneCues:
    """Objects, maps and colors of one image. It may hold more than one phrase needs.

    Attributes:
        detected: Detected objects, by the classes (`PhraseReading.any_classes`) that selected them.
        maps: Logits over the image, shape (h, w), by text, for the texts of `texts_to_segment`.
        hsv: Result of `color_cue.to_hsv`; None: the color cue is 0.
    """

    detected: Mapping[tuple[int, ...], Boxes]
    maps: Mapping[str, Map]
    hsv: Hsv | None = None


@dataclass(frozen=True, eq=False)
class GroundingInput:
    """A referring expression and its candidates in one image.

    Attributes:
        reading: Reading of the phrase, with an expression.
        candidates: Objects with the expression's name, at least one.
        scene: Objects, maps and colors of the image.
    """

    reading: PhraseReading
    candidates: Boxes
    scene: SceneCues

    @cached_property
    def expression(self) -> ReferringExpression:
        """The expression of the phrase."""
        assert self.reading.expression is not None  # only expressions are ranked
        return self.reading.expression

    @cached_property
    def mention_of(self) -> dict[str, PhraseReading]:
        """Readings of the names in the expression."""
        return dict(zip(self.expression.names(), self.reading.mentions, strict=True))


def texts_to_segment(reading: PhraseReading, detected: Mapping[tuple[int, ...], Boxes]) -> tuple[str, ...]:
    """List the texts whose maps a referring expression needs, without duplicates.

    Args:
        reading: A reading with an expression.
        detected: As in `SceneCues`.

    Returns:
        The subject, or the whole phrase if the subject has no name; then the other objects without detections.
    """
    subject, *others = reading.mentions
    undetected = (other.text for other in others if other.text and not len(detected.get(other.any_classes, ())))
    return tuple(dict.fromkeys((subject.text or reading.text, *undetected)))


def choose(grounding: GroundingInput, settings: RankingSettings) -> int:
    """Return the index of the candidate that the expression most likely refers to."""
    return int(np.argmax(measure(grounding, settings) @ cue_weights(settings)))


def measure(grounding: GroundingInput, settings: RankingSettings) -> NDArray[np.float64]:
    """Measure every cue of every candidate, shape (M, 4), in the order of `CUES`."""
    return _measure(grounding.expression, grounding.candidates, grounding, settings)


def _measure(
    expression: ReferringExpression, objects: Boxes, grounding: GroundingInput, settings: RankingSettings
) -> NDArray[np.float64]:
    """Measure the cues of the objects that an expression may refer to, shape (M, 4)."""
    boxes = objects.boxes_xyxy
    color, is_counted = _score_colors(expression, boxes, grounding.scene.hsv, settings)
    relation = np.zeros(len(boxes))
    for one in expression.relations:
        fits = _standardize(_score_relation(one, boxes, grounding, settings))
        relation += -fits if one.is_negated else fits
    spatial = np.zeros(len(boxes))
    for constraint in expression.constraints:
        spatial += _score_constraint(constraint, boxes, is_counted)
    scores = objects.scores.clip(1e-4, 1 - 1e-4)
    return np.stack([np.log(scores / (1 - scores)), color, relation, spatial], axis=1)


def _score_colors(
    expression: ReferringExpression, boxes: NDArray[np.float64], hsv: Hsv | None, settings: RankingSettings
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Score the colors of each box against those of the name and the attributes.

    Returns:
        Scores, shape (M,); and whether each box has the color of the name, bool, shape (M,).
    """
    total, is_counted = np.zeros(len(boxes)), np.ones(len(boxes), dtype=np.bool_)
    for text, is_negated in ((expression.name, False), *((one.text, one.is_negated) for one in expression.attributes)):
        shares = None if hsv is None else color_shares(text, hsv, boxes)
        if shares is None:
            continue
        # logarithm: the step from none to some matters more than the step from some to much
        values = _standardize(np.log(shares + settings.color_floor))
        total += -values if is_negated else values
        if text == expression.name:  # "the first red suitcase" is not counted among the black ones
            is_counted = shares >= settings.min_color_share * shares.max()
    return total, is_counted


def _score_constraint(
    constraint: SpatialConstraint, boxes: NDArray[np.float64], is_counted: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Score each box against a spatial constraint, shape (M,); boxes that are not counted get the lowest score."""
    centers = (boxes[:, :2] + boxes[:, 2:]) / 2
    size = np.sqrt(box_areas(boxes))
    nearness = {
        "left": -centers[:, 0],
        "right": centers[:, 0],
        "top": -centers[:, 1],
        "bottom": centers[:, 1],
        "middle": -np.abs(centers[:, 0] - 0.5),
        "large": size,
        "small": -size,
        # nearer objects are lower in the image and larger
        "front": boxes[:, 3] + size,
        "back": -boxes[:, 3] - size,
    }[constraint.side]
    if constraint.rank is None:
        return _standardize(np.where(is_counted, nearness, nearness.min()))
    order = np.flatnonzero(is_counted)[np.argsort(-nearness[is_counted], kind="stable")]
    counted = np.zeros(len(boxes))
    counted[order[min(constraint.rank, len(order)) - 1]] = 2.0
    return counted


def _score_relation(
    relation: Relation, boxes: NDArray[np.float64], grounding: GroundingInput, settings: RankingSettings
) -> NDArray[np.float64]:
    """Score each box against a relation, averaged over the candidates for the other object, shape (M,)."""
    others, probabilities = _find_other(relation.other, grounding, settings)
    fits = _score_predicate(relation.predicate, boxes, others, settings)
    is_another = pairwise_box_iou(boxes, others) <= settings.same_box_iou
    shares = probabilities[None] * is_another
    total = shares.sum(axis=1)
    averages = (shares * fits).sum(axis=1) / np.where(total > 0, total, 1.0)
    # a candidate that is itself the only other object fits worst
    return np.where(total > 0, averages, fits.min())


def _find_other(
    other: ReferringExpression, grounding: GroundingInput, settings: RankingSettings
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Find the candidates for the other object of a relation: boxes, shape (A, 4), and probabilities, shape (A,)."""
    mention = grounding.mention_of[other.name]
    detected = grounding.scene.detected.get(mention.any_classes)
    if detected is None or not len(detected):
        shown = grounding.scene.maps.get(mention.text)  # None: "any object" in an image without detections
        box = np.array([0.0, 0.0, 1.0, 1.0]) if shown is None else _box_of_peak(shown)
        return box[None], np.ones(1)
    logits = _measure(other, detected, grounding, settings) @ cue_weights(settings)
    odds = np.exp(logits - logits.max())
    return detected.boxes_xyxy, odds / odds.sum()


def _score_predicate(
    predicate: Predicate, boxes: NDArray[np.float64], others: NDArray[np.float64], settings: RankingSettings
) -> NDArray[np.float64]:
    """Score a spatial predicate between each box and each other box, shape (M, A)."""
    if predicate == "touch":
        return _overlap(boxes, others, settings)
    gaps = np.maximum(boxes[:, None, :2] - others[None, :, 2:], others[None, :, :2] - boxes[:, None, 2:]).clip(min=0.0)
    centers, others_centers = ((one[:, :2] + one[:, 2:]) / 2 for one in (boxes, others))
    across, down = np.moveaxis(centers[:, None] - others_centers[None], -1, 0)
    distance = np.hypot(gaps[..., 0], gaps[..., 1]) + 0.25 * np.hypot(across, down)
    if predicate == "far":
        return distance
    # objects lower in the image are nearer
    nearer = boxes[:, None, 3] - others[None, :, 3]
    wrong = {
        "near": np.zeros_like(distance),
        "left": across,
        "right": -across,
        "above": down,
        "below": -down,
        "front": -nearer,
        "behind": nearer,
    }[predicate]
    return -distance - 2.0 * wrong.clip(min=0.0)


def _overlap(boxes: NDArray[np.float64], others: NDArray[np.float64], settings: RankingSettings) -> NDArray[np.float64]:
    """Compute the intersection of each extended box and each other box, as a share of the smaller, shape (M, A)."""
    reach = (boxes[:, 2:] - boxes[:, :2]) * np.array((settings.reach_x, settings.reach_y))
    wide = np.concatenate([boxes[:, :2] - reach, boxes[:, 2:] + reach], axis=1)
    low = np.maximum(wide[:, None, :2], others[None, :, :2])
    high = np.minimum(wide[:, None, 2:], others[None, :, 2:])
    smaller = np.minimum(box_areas(boxes)[:, None], box_areas(others)[None])
    shared = (high - low).clip(min=0.0).prod(axis=2) / np.maximum(smaller, 1e-9)
    return np.where(pairwise_box_iou(boxes, others) > settings.same_box_iou, 0.0, shared.clip(max=1.0))


def _box_of_peak(shown: Map) -> NDArray[np.float64]:
    """Find the box, shape (4,), of the cells above the midpoint of a map's median and maximum.

    The outer tenth of the cells on each side is cut off.
    """
    rows, columns = np.nonzero(shown >= (shown.max() + np.median(shown)) / 2)
    height, width = shown.shape
    low, high = np.quantile(columns, (0.1, 0.9)), np.quantile(rows, (0.1, 0.9))
    return np.array([low[0] / width, high[0] / height, (low[1] + 1) / width, (high[1] + 1) / height])


def _standardize(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return (values - values.mean()) / (values.std() + 1e-6)
