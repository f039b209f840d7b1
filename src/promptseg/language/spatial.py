"""Spatial constraints in phrases: "leftmost", "the second from the right", "in the background"."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Side = Literal["left", "right", "top", "bottom", "middle", "large", "small", "front", "back"]


@dataclass(frozen=True)
class SpatialConstraint:
    """Where the object is among the objects of its name, or how large.

    Attributes:
        side: The object that is nearest to this side is meant. "front" is towards the camera, "back" away from it.
        rank: The object is the first, second, ... counted from that side; None: the phrase does not count.
    """

    side: Side
    rank: int | None = None


ORDINALS = {
    **dict(zip("first second third fourth fifth sixth seventh eighth ninth tenth".split(), range(1, 11), strict=True)),
    **dict(zip("1st 2nd 3rd 4th 5th 6th 7th 8th 9th 10th".split(), range(1, 11), strict=True)),
}
SIDES: dict[str, Side] = {
    **dict.fromkeys(("leftmost", "left", "lefthand", "left-hand", "left-most"), "left"),
    **dict.fromkeys(("rightmost", "right", "righthand", "right-hand", "right-most"), "right"),
    **dict.fromkeys(("topmost", "uppermost", "highest", "top", "upper"), "top"),
    **dict.fromkeys(("bottommost", "lowest", "lowermost", "bottom", "lower"), "bottom"),
    **dict.fromkeys(("middle", "center", "centre", "central"), "middle"),
    **dict.fromkeys(("largest", "larger", "biggest", "bigger", "tallest", "taller", "longest", "longer"), "large"),
    **dict.fromkeys(("smallest", "smaller", "shortest", "shorter", "tiniest"), "small"),
    **dict.fromkeys(("closest", "nearest", "frontmost", "foremost"), "front"),
    **dict.fromkeys(("farthest", "furthest", "rearmost"), "back"),
}
# These are also parts of names: a side only before a whole object, not before one of its parts or a garment.
_WEAK_SIDES = frozenset(("left", "right", "top", "upper", "bottom", "lower", "middle", "center", "centre", "central"))
_PARTS = frozenset(
    "arm bumper cheek door ear eye eyebrow fender finger foot front glass glove hand headlight hat image knee lane "
    "leg light mirror paw picture pocket quarter shoe shoulder side sleeve taillight thumb tire turn wheel window "
    "wing".split()
)

IMAGE = r"(?:image|picture|photo|frame|screen|scene)"
_COUNTED = re.compile(
    rf"\b({'|'.join(ORDINALS)})\b(.*?)\bfrom (?:the )?(?:far )?(left|right|top|bottom|front|back)(?: hand)?(?: side)?\b"
)
# "the second tallest", "the third highest in the row"
_RANKED = re.compile(rf"\b({'|'.join(ORDINALS)}) (?:most )?({'|'.join(set(SIDES) - _WEAK_SIDES)})\b")
_END = r"(?= *(?:$|,))"
_OF_IMAGE = rf"(?: of (?:the |this )?{IMAGE})"
_PATTERNS: tuple[tuple[re.Pattern[str], tuple[Side, ...]], ...] = (
    (re.compile(r"\b(?:closest|nearest|next|close) to the (?:camera|viewer|photographer)\b"), ("front",)),
    (re.compile(r"\b(?:farthest|furthest)(?: away)?(?: from the (?:camera|viewer|photographer))?$"), ("back",)),
    (re.compile(rf"\b(?:in|on|at) the (?:foreground|(?:very )?front(?! of))(?:{_OF_IMAGE})?\b"), ("front",)),
    (re.compile(rf"\b(?:in|on|at) the (?:background|(?:very )?back(?! of))(?:{_OF_IMAGE})?\b"), ("back",)),
    (re.compile(r"\b(?:in|at|on) the (?:upper|top)[ -]left(?: corner)?\b"), ("top", "left")),
    (re.compile(r"\b(?:in|at|on) the (?:upper|top)[ -]right(?: corner)?\b"), ("top", "right")),
    (re.compile(r"\b(?:in|at|on) the (?:lower|bottom)[ -]left(?: corner)?\b"), ("bottom", "left")),
    (re.compile(r"\b(?:in|at|on) the (?:lower|bottom)[ -]right(?: corner)?\b"), ("bottom", "right")),
    *(
        (
            re.compile(
                r"(?<!pointing )(?<!facing )(?<!looking )"
                rf"\b(?:on|to|at|in) (?:the |your )?(?:far |very )?{side}(?: hand)?(?: side)?(?:{_OF_IMAGE}|{_END})"
            ),
            (side,),
        )
        for side in ("left", "right", "top", "bottom")
    ),
    (re.compile(rf"\b(?:in|at|on) the (?:very )?(?:middle|cent(?:er|re))(?:{_OF_IMAGE}|{_END})"), ("middle",)),
)  # fmt: skip


def take_constraints(
    text: str, *, starts_clause: Callable[[str, int], bool]
) -> tuple[str, tuple[SpatialConstraint, ...]]:
    """Remove the spatial constraints from a phrase.

    Args:
        text: Normalized, without a leading article.
        starts_clause: Whether a clause starts at a word, given its index. An ordinal counts only before the first
            clause.

    Returns:
        The rest of the phrase, and the constraints.
    """
    constraints = []
    counted = _COUNTED.search(text)
    if counted and not any(map(starts_clause, text[: counted.start()].split(), range(99))):
        constraints.append(
            SpatialConstraint(SIDES.get(counted[3], "front" if counted[3] == "front" else "back"), ORDINALS[counted[1]])
        )
        text = text[: counted.start()] + counted[2].strip() + text[counted.end() :]
    if ranked := _RANKED.search(text):
        constraints.append(SpatialConstraint(SIDES[ranked[2]], ORDINALS[ranked[1]]))
        text = text[: ranked.start()] + text[ranked.end() :]
    for pattern, sides in _PATTERNS:
        if found := pattern.search(text):
            constraints.extend(SpatialConstraint(side) for side in sides)
            text = text[: found.start()] + text[found.end() :]
    return " ".join(text.split()), tuple(constraints)


def read_name(words: list[str]) -> tuple[str, tuple[SpatialConstraint, ...]]:
    """Split a noun phrase into the name and the constraints among its adjectives."""
    head = words[-1] if words else ""
    kept: list[str] = []
    constraints = []
    for word in words[:-1]:
        is_side = word in SIDES and not (word in _WEAK_SIDES and head in _PARTS)
        if is_side and "of" not in kept:
            constraints.append(SpatialConstraint(SIDES[word]))
        elif word != "most" and (word not in ORDINALS or kept):  # "the second car behind the bus": from where?
            kept.append(word)
    if head in SIDES and head not in _WEAK_SIDES:  # "the leftmost", "the smallest"
        return "one", (*constraints, SpatialConstraint(SIDES[head]))
    return " ".join([*kept, head]).strip(), tuple(constraints)
