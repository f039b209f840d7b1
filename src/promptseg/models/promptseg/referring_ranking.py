"""Which of several things a referring phrase means.

Every thing of the name is judged by some cues: what can be seen of it, how it holds itself, where it is among the
others, how it lies to other things. A cue is standardized over the things, so that none counts for the numbers that it
happens to be written in, and the cues are summed with weights that were fitted: exp of the sum is how probable it is
that the thing is meant. The other thing of a relation is found in the same way, and stays as uncertain as it is.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import astuple, dataclass, fields

import numpy as np
from numpy.typing import NDArray

from promptseg.detectors.box_selection import Boxes, cells_inside
from promptseg.language.referring_parser import TURNED, Attribute, Reference, Relation
from promptseg.language.spatial import Place
from promptseg.models.promptseg.color_cue import Hsv, color_shares, face_shares, named_color
from promptseg.ops.boxes import box_areas, pairwise_box_iou

Map = NDArray[np.float32]

# A thing has a name's color where it shows this much of what the thing with most of it shows.
MIN_COLOR = 0.5
# A share of color below this is as good as none.
LEAST_COLOR = 0.03
# Boxes that overlap more are one thing, and nothing lies to itself in any way.
SAME_BOX_IOU = 0.7
# Brings what is held, at most 1, to the size of the other cues.
HELD_SCALE = 3.0
# What somebody holds or rides reaches out of their box by this share of its width and height.
REACH_XY = (0.15, 0.1)

_LOW = re.compile(r"\b(?:sitting|seated|sit|kneeling|crouching|driving|riding|lying|sleeping)\b")
_UPRIGHT = re.compile(r"\b(?:standing|stand|walking|running|jumping)\b")
# Not things that are held, although a detector's names come near: a tie is a kind of clothes.
_CLOTHING = frozenset(("clothes", "clothing", "outfit"))


@dataclass(frozen=True)
class Weights:
    """How much each cue counts; fitted by scripts/fit_references.py, see docs/objects.md.

    Attributes:
        phrase: How well the whole phrase's map fits the box.
        score: How surely the thing was detected, in log odds.
        color: The color of an attribute, or that it is missing.
        adjective: The color of the name.
        pose: Sitting or standing.
        facing: Towards the camera or away from it.
        held: What an attribute says that it has, holds or rides, where a detector knows that.
        relation: Other things that it is on, beside, behind, under, ...
        place: Among its like, or by size.
    """

    phrase: float = 0.18
    score: float = 0.45
    color: float = 0.72
    adjective: float = 0.27
    pose: float = 0.51
    facing: float = 0.35
    held: float = 0.1
    relation: float = 0.28
    place: float = 1.12


CUES = tuple(field.name for field in fields(Weights))
WEIGHTS = Weights()


@dataclass(frozen=True)
class Scene:
    """What is known of the image.

    Attributes:
        maps: Logits over the image, shape (h, w), of the phrase, and of `other_names` that nothing was detected of.
        found: What was detected of `asked_names`.
        aspect: Width of the image by its height.
        hsv: From `colors.to_hsv`, or None.
    """

    maps: Mapping[str, Map]
    found: Mapping[str, Boxes]
    aspect: float = 1.0
    hsv: Hsv | None = None


def other_names(reference: Reference) -> Iterator[str]:
    """Name the other things of relations, and theirs; "" is any thing."""
    for relation in reference.relations:
        yield relation.other.name
        yield from other_names(relation.other)


def asked_names(reference: Reference) -> Iterator[str]:
    """Name all that `choose` wants to know detections of: other things, and what attributes may name."""
    yield from (attribute.text for attribute in reference.attributes if _may_be_thing(attribute))
    for relation in reference.relations:
        yield relation.other.name
        yield from asked_names(relation.other)


def choose(phrase: str, reference: Reference, things: Boxes, scene: Scene, weights: Weights = WEIGHTS) -> int:
    """Choose the thing that is meant.

    Args:
        phrase: As it was asked.
        reference: What was read in it.
        things: At least one.
        scene: The image.
        weights: Of the cues.

    Returns:
        Index of the thing.
    """
    return int(np.argmax(measure(phrase, reference, things, scene, weights) @ np.array(astuple(weights))))


def measure(
    phrase: str, reference: Reference, things: Boxes, scene: Scene, weights: Weights = WEIGHTS
) -> NDArray[np.float64]:
    """Measure every cue of every thing, shape (M, len(CUES)); arguments as `choose`."""
    boxes = things.boxes_xyxy
    cues = dict.fromkeys(CUES, np.zeros(len(boxes)))
    if phrase in scene.maps:
        cues["phrase"] = _standard(_mean_inside(scene.maps[phrase], boxes))
    cues["score"] = np.log(things.scores.clip(1e-4, 1 - 1e-4) / (1 - things.scores.clip(1e-4, 1 - 1e-4)))
    is_counted = np.ones(len(boxes), dtype=np.bool_)
    if scene.hsv is not None and (shares := color_shares(reference.name, scene.hsv, boxes)) is not None:
        cues["adjective"] = _standard_share(shares)
        # "the first red suitcase" is not counted among the black ones
        is_counted = shares >= MIN_COLOR * shares.max()
    for attribute in reference.attributes:
        for cue, values in _look(attribute, boxes, scene):
            cues[cue] = cues[cue] + (-values if attribute.is_negated else values)
    for relation in reference.relations:
        related = _standard(_related(relation, boxes, scene, weights))
        cues["relation"] = cues["relation"] + (-related if relation.is_negated else related)
    for place in reference.places:
        cues["place"] = cues["place"] + _placed(place, boxes, is_counted)
    return np.stack([cues[cue] for cue in CUES], axis=1)


def _look(attribute: Attribute, boxes: NDArray[np.float64], scene: Scene) -> Iterator[tuple[str, NDArray[np.float64]]]:
    """Give the cues that an attribute speaks of, and how well each box answers to it."""
    if attribute.text in TURNED:
        if scene.hsv is not None:
            faces = _standard(face_shares(scene.hsv, boxes))
            yield "facing", faces if attribute.text == "facing-camera" else -faces
        return
    is_low = _LOW.search(attribute.text) is not None
    if is_low or _UPRIGHT.search(attribute.text):
        sides = boxes[:, 2:] - boxes[:, :2]
        slimness = _standard(np.log(sides[:, 1] / (sides[:, 0] * scene.aspect)))
        yield "pose", -slimness if is_low else slimness
    if scene.hsv is not None and (shares := color_shares(attribute.text, scene.hsv, boxes)) is not None:
        yield "color", _standard_share(shares)
    held = scene.found.get(attribute.text)
    if held is not None and len(held) and _may_be_thing(attribute):
        # not standardized: where nothing is surely held, nothing is said
        yield "held", HELD_SCALE * (_overlaps(boxes, held.boxes_xyxy) * held.scores).max(axis=1)


def _may_be_thing(attribute: Attribute) -> bool:
    head = attribute.text.split(" ")[-1]
    return head not in _CLOTHING and head not in TURNED and named_color(head) is None


def _placed(place: Place, boxes: NDArray[np.float64], is_counted: NDArray[np.bool_]) -> NDArray[np.float64]:
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
        # nearer things stand lower in an image, and are larger
        "front": boxes[:, 3] + size,
        "back": -boxes[:, 3] - size,
    }[place.side]
    if place.rank is None:
        return _standard(np.where(is_counted, nearness, nearness.min()))
    order = np.flatnonzero(is_counted)[np.argsort(-nearness[is_counted], kind="stable")]
    counted = np.zeros(len(boxes))
    counted[order[min(place.rank, len(order)) - 1]] = 2.0
    return counted


def _related(relation: Relation, boxes: NDArray[np.float64], scene: Scene, weights: Weights) -> NDArray[np.float64]:
    """How well each box lies to the other thing as the relation says, averaged over what the other may be."""
    others, chances = _find_other(relation.other, scene, weights)
    fits = _lies(relation.bond, boxes, others)
    is_other = pairwise_box_iou(boxes, others) <= SAME_BOX_IOU
    shares = chances[None] * is_other
    total = shares.sum(axis=1)
    averages = (shares * fits).sum(axis=1) / np.where(total > 0, total, 1.0)
    # who is the other thing itself, and there is no second one, fits worst
    return np.where(total > 0, averages, fits.min())


def _find_other(other: Reference, scene: Scene, weights: Weights) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Give boxes of what a relation's other thing may be, shape (A, 4), and how probable each is, shape (A,)."""
    found = scene.found.get(other.name)
    if not found:
        seen = scene.maps.get(other.name)  # None: any thing at all, in an image where nothing was detected
        return (np.array([0.0, 0.0, 1.0, 1.0]) if seen is None else _bright_box(seen))[None], np.ones(1)
    # its map is not asked for: the cues of its own clauses tell it from its like
    said = measure("", other, found, scene, weights) @ np.array(astuple(weights))
    chances = np.exp(said - said.max())
    return found.boxes_xyxy, chances / chances.sum()


def _lies(bond: str, boxes: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """How well each box lies to each other one, shape (M, A)."""
    if bond == "touch":
        return _overlaps(boxes, others)
    gaps = np.maximum(boxes[:, None, :2] - others[None, :, 2:], others[None, :, :2] - boxes[:, None, 2:]).clip(min=0.0)
    centers, others_centers = ((one[:, :2] + one[:, 2:]) / 2 for one in (boxes, others))
    across, down = np.moveaxis(centers[:, None] - others_centers[None], -1, 0)
    distance = np.hypot(gaps[..., 0], gaps[..., 1]) + 0.25 * np.hypot(across, down)
    if bond == "far":
        return distance
    # who stands lower in an image stands nearer
    nearer = boxes[:, None, 3] - others[None, :, 3]
    wrong = {
        "near": np.zeros_like(distance),
        "left": across,
        "right": -across,
        "above": down,
        "below": -down,
        "front": -nearer,
        "behind": nearer,
    }[bond]
    return -distance - 2.0 * wrong.clip(min=0.0)


def _overlaps(boxes: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """Share of the smaller of each box, with what is in reach, and each other one that both have, shape (M, A)."""
    reach = (boxes[:, 2:] - boxes[:, :2]) * np.array(REACH_XY)
    wide = np.concatenate([boxes[:, :2] - reach, boxes[:, 2:] + reach], axis=1)
    low = np.maximum(wide[:, None, :2], others[None, :, :2])
    high = np.minimum(wide[:, None, 2:], others[None, :, 2:])
    smaller = np.minimum(box_areas(boxes)[:, None], box_areas(others)[None])
    shared = (high - low).clip(min=0.0).prod(axis=2) / np.maximum(smaller, 1e-9)
    return np.where(pairwise_box_iou(boxes, others) > SAME_BOX_IOU, 0.0, shared.clip(max=1.0))


def _bright_box(seen: Map) -> NDArray[np.float64]:
    """Box, in shares, around where a map is nearly as high as it gets: half its range."""
    rows, columns = np.nonzero(seen >= (seen.max() + np.median(seen)) / 2)
    height, width = seen.shape
    low, high = np.quantile(columns, (0.1, 0.9)), np.quantile(rows, (0.1, 0.9))
    return np.array([low[0] / width, high[0] / height, (low[1] + 1) / width, (high[1] + 1) / height])


def _mean_inside(seen: Map, boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.array([cells_inside(seen, box).mean() for box in boxes], dtype=np.float64)


def _standard_share(shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """Standardise shares of a color by their logarithm: from none to some is more than from some to much."""
    return _standard(np.log(shares + LEAST_COLOR))


def _standard(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return (values - values.mean()) / (values.std() + 1e-6)
