"""What a phrase becomes when its image is mirrored: "left" and "right" change places."""

import re

_SIDE = re.compile(r"\b(left|right)(?=(?:most|hand|ward|wards|side)?\b)", re.IGNORECASE)
_OTHER = {"left": "right", "right": "left"}

# "right" that is no side: "right next to", "right in front of" (but "on the right in front"), "upright", "all right".
_RIGHT_AS_ADVERB = re.compile(
    r"(?<!\bthe )(?<!\bfar )(?<!\bon )(?<!\bto )(?<!\bits )(?<!\bour )(?<!\bher )(?<!\bhis )"
    r"\bright (?:next|beside|behind|in|above|below|under|at|on|by|near|before|after|there|here|now|up|down|angle)\b"
    r"|\ball right\b",
    re.IGNORECASE,
)
# "left" that is no side: "the last piece left", "nothing left", "left alone" (but "on the far left behind the desk").
_LEFT_OVER = re.compile(
    r"\b(?:is|are|was|has|have|had|only|nothing|what's|being|pieces?|slices?) left\b"
    r"|(?<!the )(?<!far )\bleft (?:over|behind|alone|of it)\b",
    re.IGNORECASE,
)
# Sides that people abbreviate, and what mirrored letters and hours would make untrue.
_UNSURE = re.compile(
    r"\b(?:l|r|lt|rt|lft|rgt|rite|lhs|rhs|clockwise|counterclockwise|\d+ ?o'?clock|east|west)\b", re.IGNORECASE
)


def mirror_phrase(phrase: str) -> str | None:
    """Reword a phrase for the mirrored image.

    Returns:
        The phrase with its sides exchanged, the phrase itself where it names none, or None where it can't be told
        which: then the image must not be mirrored.

    Example:
        >>> mirror_phrase("Left man next to the leftmost car"), mirror_phrase("bright sofa"), mirror_phrase("lft guy")
        ('Right man next to the rightmost car', 'bright sofa', None)
    """
    if _UNSURE.search(phrase) or _RIGHT_AS_ADVERB.search(phrase) or _LEFT_OVER.search(phrase):
        return None
    return _SIDE.sub(_exchange, phrase)


def _exchange(match: re.Match[str]) -> str:
    side = match.group(0)
    other = _OTHER[side.lower()]
    if side.isupper():
        return other.upper()
    return other.capitalize() if side[0].isupper() else other
