"""Horizontal flip of text: when an image is flipped, "left" and "right" in its phrases are exchanged."""

import re
from collections.abc import Iterable

_SIDE = re.compile(r"\b(left|right)(?=(?:most|hand|ward|wards|side)?\b)", re.IGNORECASE)
_OTHER = {"left": "right", "right": "left"}

# "right" that names no side: "right next to", "right in front of" (not "on the right in front"), "all right".
_RIGHT_AS_ADVERB = re.compile(
    r"(?<!\bthe )(?<!\bfar )(?<!\bon )(?<!\bto )(?<!\bits )(?<!\bour )(?<!\bher )(?<!\bhis )"
    r"\bright (?:next|beside|behind|in|above|below|under|at|on|by|near|before|after|there|here|now|up|down|angle)\b"
    r"|\ball right\b",
    re.IGNORECASE,
)
# "left" that names no side: "the last piece left", "nothing left", "left alone" (not "far left behind the desk").
_LEFT_OVER = re.compile(
    r"\b(?:is|are|was|has|have|had|only|nothing|what's|being|pieces?|slices?) left\b"
    r"|(?<!the )(?<!far )\bleft (?:over|behind|alone|of it)\b",
    re.IGNORECASE,
)
# Abbreviated sides, and phrases that a flipped image makes untrue.
_UNSURE = re.compile(
    r"\b(?:l|r|lt|rt|lft|rgt|rite|lhs|rhs|clockwise|counterclockwise|\d+ ?o'?clock|east|west)\b", re.IGNORECASE
)


def flip_phrase(phrase: str) -> str | None:
    """Reword a phrase for the horizontally flipped image.

    Returns:
        The phrase with its sides exchanged, or the phrase itself where it names no side. None where the meaning of a
        side is unclear: such an image must not be flipped.

    Example:
        >>> flip_phrase("Left man next to the leftmost car"), flip_phrase("bright sofa"), flip_phrase("lft guy")
        ('Right man next to the rightmost car', 'bright sofa', None)
    """
    if _UNSURE.search(phrase) or _RIGHT_AS_ADVERB.search(phrase) or _LEFT_OVER.search(phrase):
        return None
    return _SIDE.sub(_exchange, phrase)


def flip_phrases(phrases: Iterable[str]) -> list[str]:
    """Reword phrases for the flipped image, and leave out those that can't be reworded."""
    return [flipped for phrase in phrases if (flipped := flip_phrase(phrase)) is not None]


def _exchange(match: re.Match[str]) -> str:
    side = match.group(0)
    other = _OTHER[side.lower()]
    if side.isupper():
        return other.upper()
    return other.capitalize() if side[0].isupper() else other
