"""Which of several things a referring phrase means.

Every thing of the name is judged by what can be seen of it: how well it fits the phrase, what it wears or holds, where
it is among the others, what it is near to. Each of these is standardised over the things, so that none counts for the
numbers it happens to be written in, and they are summed.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from promptseg.detectors.detected import Boxes, cells_inside, peak_inside
from promptseg.naming.referring import Place, Reference, Relation
from promptseg.ops.boxes import box_areas, pairwise_box_iou
from promptseg.segmenters.colours import Hsv, colour_shares

Map = NDArray[np.float32]

# Of a box's cells those that show an attribute most: a scarf is a small part of who wears it.
ATTRIBUTE_SHARE = 0.15
# A thing has a name's colour where it shows this much of what the thing with most of it shows.
MIN_COLOUR = 0.5


@dataclass(frozen=True)
class Weights:
    """How much each kind of evidence counts; chosen on training pictures, see docs/objects.md.

    Attributes:
        phrase: How well the whole phrase fits the box.
        attribute: One attribute; a negated one counts `negated` times as much, against the thing.
        negated: See `attribute`.
        colour: The colour of an attribute, beside what else is seen of it.
        place: One place.
        relation: One relation.
        size: Larger things are meant more often.
        score: So are things that were surely detected.
    """

    phrase: float = 1.0
    attribute: float = 0.5
    negated: float = 0.7
    colour: float = 2.0
    place: float = 4.0
    relation: float = 0.25
    size: float = 0.25
    score: float = 0.25


WEIGHTS = Weights()


def asked_texts(phrase: str, reference: Reference) -> tuple[str, ...]:
    """Name every text whose map `choose` looks at."""
    texts = [phrase, *([reference.name] if reference.name else [])]
    texts += [one.text for one in reference.attributes] + [one.other for one in reference.relations]
    return tuple(dict.fromkeys(texts))


@dataclass(frozen=True)
class Scene:
    """What is known of the picture.

    Attributes:
        maps: Logits of each of `asked_texts` over the picture, shape (h, w).
        others: What was detected of the relations' other things, where anything was.
        hsv: From `colours.to_hsv`, or None.
    """

    maps: Mapping[str, Map]
    others: Mapping[str, Boxes]
    hsv: Hsv | None = None


def choose(phrase: str, reference: Reference, things: Boxes, scene: Scene, weights: Weights = WEIGHTS) -> int:
    """Choose the thing that is meant.

    Args:
        phrase: As it was asked.
        reference: What was read in it.
        things: At least one.
        scene: The picture.
        weights: Of the kinds of evidence.

    Returns:
        Index of the thing.
    """
    return int(np.argmax(judge(phrase, reference, things, scene, weights)))


def judge(
    phrase: str, reference: Reference, things: Boxes, scene: Scene, weights: Weights = WEIGHTS
) -> NDArray[np.float64]:
    """Score every thing, shape (M,); arguments as `choose`."""
    boxes = things.boxes_xyxy
    total = weights.phrase * _standard(_mean_inside(scene.maps[phrase], boxes))
    total += weights.size * _standard(np.sqrt(box_areas(boxes))) + weights.score * _standard(things.scores)
    if " " in reference.name:  # adjectives
        total += _looks_like(reference.name, boxes, scene, weights)
    for attribute in reference.attributes:
        sign = -weights.negated if attribute.is_negated else 1.0
        total += sign * _looks_like(attribute.text, boxes, scene, weights)
    for relation in reference.relations:
        sign = -weights.negated if relation.is_negated else 1.0
        total += sign * weights.relation * _standard(_related(relation, boxes, scene))
    for place in reference.places:
        total += weights.place * _placed(place, boxes, _named(reference, boxes, scene))
    return total


def _looks_like(text: str, boxes: NDArray[np.float64], scene: Scene, weights: Weights) -> NDArray[np.float64]:
    likeness = weights.attribute * _standard(_peak_inside(scene.maps[text], boxes))
    shares = None if scene.hsv is None else colour_shares(text, scene.hsv, boxes)
    return likeness if shares is None else likeness + weights.colour * _standard(shares)


def _named(reference: Reference, boxes: NDArray[np.float64], scene: Scene) -> NDArray[np.bool_]:
    """Whether each thing has the colour of the name: "the first red suitcase" is not counted among the black ones."""
    shares = None if scene.hsv is None else colour_shares(reference.name, scene.hsv, boxes)
    return np.ones(len(boxes), dtype=np.bool_) if shares is None else shares >= MIN_COLOUR * shares.max()


def _placed(place: Place, boxes: NDArray[np.float64], is_counted: NDArray[np.bool_]) -> NDArray[np.float64]:
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    size = np.sqrt(box_areas(boxes))
    nearness = {
        "left": -centres[:, 0],
        "right": centres[:, 0],
        "top": -centres[:, 1],
        "bottom": centres[:, 1],
        "middle": -np.abs(centres[:, 0] - 0.5),
        "large": size,
        "small": -size,
        # nearer things stand lower in a picture, and are larger
        "front": boxes[:, 3] + size,
        "back": -boxes[:, 3] - size,
    }[place.side]
    if place.rank is None:
        return _standard(np.where(is_counted, nearness, nearness.min()))
    order = np.flatnonzero(is_counted)[np.argsort(-nearness[is_counted], kind="stable")]
    counted = np.zeros(len(boxes))
    counted[order[min(place.rank, len(order)) - 1]] = 2.0
    return counted


def _related(relation: Relation, boxes: NDArray[np.float64], scene: Scene) -> NDArray[np.float64]:
    """How well each box lies to the other thing as the relation says."""
    seen = scene.maps[relation.other]
    detected = scene.others.get(relation.other)
    if detected is not None and len(detected):
        fits = _standard(_mean_inside(seen, detected.boxes_xyxy)) + _standard(detected.scores)
        anchor = detected.boxes_xyxy[int(np.argmax(fits))]
    else:
        anchor = _bright_box(seen)
    shift = (boxes[:, :2] + boxes[:, 2:] - anchor[:2] - anchor[2:]) / 2
    gaps = np.maximum(boxes[:, :2] - anchor[2:], anchor[:2] - boxes[:, 2:]).clip(min=0.0)
    distance = np.hypot(*gaps.T) + 0.25 * np.hypot(*shift.T)
    is_itself = pairwise_box_iou(boxes, anchor[None])[:, 0] > 0.8  # nothing is near to itself
    directed = {
        "near": -distance,
        "far": distance,
        "left": -distance - 2.0 * shift[:, 0].clip(min=0.0),
        "right": -distance - 2.0 * (-shift[:, 0]).clip(min=0.0),
        "above": -distance - 2.0 * shift[:, 1].clip(min=0.0),
        "below": -distance - 2.0 * (-shift[:, 1]).clip(min=0.0),
    }[relation.bond]
    return np.where(is_itself, directed.min(), directed)


def _bright_box(seen: Map) -> NDArray[np.float64]:
    """Box, in shares, around where a map is nearly as high as it gets: half its range."""
    rows, columns = np.nonzero(seen >= (seen.max() + np.median(seen)) / 2)
    height, width = seen.shape
    low, high = np.quantile(columns, (0.1, 0.9)), np.quantile(rows, (0.1, 0.9))
    return np.array([low[0] / width, high[0] / height, (low[1] + 1) / width, (high[1] + 1) / height])


def _mean_inside(seen: Map, boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.array([cells_inside(seen, box).mean() for box in boxes], dtype=np.float64)


def _peak_inside(seen: Map, boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.array([peak_inside(seen, box, share=ATTRIBUTE_SHARE) for box in boxes], dtype=np.float64)


def _standard(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return (values - values.mean()) / (values.std() + 1e-6)
