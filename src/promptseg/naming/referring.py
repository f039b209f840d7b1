"""What a referring phrase says: a thing's name, and what tells the one that is meant from the others of its name.

"the second white car from the left, not behind a tree" is the name "white car", a place (rank 2 from the left) and a
relation that must not hold. Plain names say nothing of the kind ("traffic light", "cup of coffee", "front left door"),
nor do plurals; for them there is no reference.

The grammar is a handful of word lists and patterns. It was written looking at phrases that people made for training
pictures; it reads English.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from promptseg.naming.phrases import normalise, singular
from promptseg.naming.synonyms import PLURAL_ONLY

Side = Literal["left", "right", "top", "bottom", "middle", "large", "small", "front", "back"]
Bond = Literal["near", "far", "left", "right", "above", "below"]


@dataclass(frozen=True)
class Place:
    """Where the thing is among its like, or how large: the nearer to that side, the better.

    Attributes:
        side: "front" is towards the camera, "back" away from it.
        rank: Counted from that side, from 1; None: the phrase does not count.
    """

    side: Side
    rank: int | None = None


@dataclass(frozen=True)
class Attribute:
    """What the thing wears, holds, does or looks like, in the phrase's words; or does not."""

    text: str
    is_negated: bool = False


@dataclass(frozen=True)
class Relation:
    """How the thing lies to another one."""

    bond: Bond
    other: str
    is_negated: bool = False


@dataclass(frozen=True)
class Reference:
    """A phrase that means one thing of its name.

    Attributes:
        name: The thing's name with its adjectives, singular; "" where the phrase only says "one" or "object".
        places: Among its like, or by size.
        attributes: From its clauses; adjectives are in `name`.
        relations: In the phrase's order. All three are empty where a clause says nothing that can be looked for.
    """

    name: str
    places: tuple[Place, ...] = ()
    attributes: tuple[Attribute, ...] = ()
    relations: tuple[Relation, ...] = ()


_ORDINALS = {
    **dict(zip("first second third fourth fifth sixth seventh eighth ninth tenth".split(), range(1, 11), strict=True)),
    **dict(zip("1st 2nd 3rd 4th 5th 6th 7th 8th 9th 10th".split(), range(1, 11), strict=True)),
}
_SIDES: dict[str, Side] = {
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
# These are also parts of names: a side only before a whole thing, not before one of its parts or a garment.
_WEAK_SIDES = frozenset(("left", "right", "top", "upper", "bottom", "lower", "middle", "center", "centre", "central"))
_PARTS = frozenset(
    "arm bumper cheek door ear eye eyebrow fender finger foot front glass glove hand headlight hat image knee lane "
    "leg light mirror paw picture pocket quarter shoe shoulder side sleeve taillight thumb tire turn wheel window "
    "wing".split()
)
_NAMELESS = frozenset("one object thing figure someone somebody something anything".split())
_UNCOUNTED = frozenset(
    "all every each both some several many any two three four five six no this these those there here where".split()
)
_EXTREMES = frozenset("closest nearest farthest furthest".split())  # before a name a place, behind it a relation
_LINKS = frozenset("who which that whose whom".split())
_VERBS = frozenset(
    "wearing holding sitting standing riding facing carrying walking running looking jumping lying driving moving "
    "touching flying playing eating drinking talking pointing covering leaning boarding getting resting hanging "
    "reading skiing surfing swinging throwing catching cutting doing having using pushing pulling kneeling "
    "sleeping located positioned placed held worn ridden parked carried dressed occupied driven seated own owned "
    "partially".split()
)
_NEGATIONS = frozenset("not without no neither nor never none isn't doesn't aren't don't".split())
_PREPOSITIONS = frozenset(
    "with in on at near next behind between from beside by above under below beneath underneath inside outside close "
    "against over to far away along alongside around opposite among across adjacent".split()
)
_EMPTY = frozenset(
    "a an the is are was be been has have had do does of it its his her their with in who which that while whose and "
    "but or to also only wearing dressed having by being located positioned placed there on at any some".split()
)

_SIDE = r"(?:left|right)"
_PICTURE = r"(?:image|picture|photo|frame|screen|scene)"
_COUNTED = re.compile(
    rf"\b({'|'.join(_ORDINALS)})\b(.*?)\bfrom (?:the )?(?:far )?(left|right|top|bottom|front|back)"
    r"(?: hand)?(?: side)?\b"
)
_END = r"(?= *(?:$|,))"
_OF_PICTURE = rf"(?: of (?:the |this )?{_PICTURE})"
_PLACES: tuple[tuple[re.Pattern[str], tuple[Side, ...]], ...] = (
    (re.compile(r"\b(?:closest|nearest|next|close) to the (?:camera|viewer|photographer)\b"), ("front",)),
    (re.compile(r"\b(?:farthest|furthest)(?: away)?(?: from the (?:camera|viewer|photographer))?$"), ("back",)),
    (re.compile(rf"\b(?:in|on|at) the (?:foreground|(?:very )?front(?! of))(?:{_OF_PICTURE})?\b"), ("front",)),
    (re.compile(rf"\b(?:in|on|at) the (?:background|(?:very )?back(?! of))(?:{_OF_PICTURE})?\b"), ("back",)),
    (re.compile(r"\b(?:in|at|on) the (?:upper|top)[ -]left(?: corner)?\b"), ("top", "left")),
    (re.compile(r"\b(?:in|at|on) the (?:upper|top)[ -]right(?: corner)?\b"), ("top", "right")),
    (re.compile(r"\b(?:in|at|on) the (?:lower|bottom)[ -]left(?: corner)?\b"), ("bottom", "left")),
    (re.compile(r"\b(?:in|at|on) the (?:lower|bottom)[ -]right(?: corner)?\b"), ("bottom", "right")),
    *(
        (
            re.compile(
                r"(?<!pointing )(?<!facing )(?<!looking )"
                rf"\b(?:on|to|at|in) (?:the |your )?(?:far |very )?{side}(?: hand)?(?: side)?(?:{_OF_PICTURE}|{_END})"
            ),
            (side,),
        )
        for side in ("left", "right", "top", "bottom")
    ),
    (re.compile(rf"\b(?:in|at|on) the (?:very )?(?:middle|cent(?:er|re))(?:{_OF_PICTURE}|{_END})"), ("middle",)),
)  # fmt: skip
_BONDS: tuple[tuple[re.Pattern[str], Bond], ...] = (
    (re.compile(r"(?<!in the )\b(?:(?:on|to|at) the )?left(?: hand)?(?: side)? of\b"), "left"),
    (re.compile(r"(?<!in the )\b(?:(?:on|to|at) the )?right(?: hand)?(?: side)? of\b"), "right"),
    (re.compile(r"\b(?:above|on top of|over)\b"), "above"),
    (re.compile(r"\b(?:below|under|underneath|beneath)\b"), "below"),
    (re.compile(r"\b(?:(?:furthest|farthest|far|away)(?: away)? from)\b"), "far"),
    (
        re.compile(
            r"\b(?:next to|nearest(?: to)?|closest to|close to|near|beside|by|adjacent to|alongside|in front of|behind|"
            r"between|against|opposite|on|at|inside|outside)\b"
        ),
        "near",
    ),
)


def parse_reference(phrase: str) -> Reference | None:
    """Read a referring phrase; None for a plain name, a plural, and whatever has nothing to choose one thing by.

    With "the" or "a" any clause refers ("the person on the bench"); without, only a place, a negation or a relative
    clause does, for "person on a scooter" may name a kind of thing.

    Example:
        >>> parse_reference("the second worker from the right")
        Reference(name='worker', places=(Place(side='right', rank=2),), attributes=(), relations=())
        >>> parse_reference("traffic light") is None
        True
    """
    text = re.sub(rf" (?:in|of|on) (?:the|this|an?) {_PICTURE}$", "", _spaced(phrase))
    text = re.sub(r"^one of the (\S+)", lambda found: f"the {singular(found[1])}", text)
    determined = re.match(r"(?:the|an?) ", text)
    text = text[determined.end() :] if determined else text
    if text.split(" ", 1)[0] in _UNCOUNTED:
        return None
    text, places = _take_places(text)
    words = text.split(" ")
    end = next((index for index, word in enumerate(words) if _starts_clause(word, index)), len(words))
    end -= end > 1 and end < len(words) and words[end - 1] == "being"  # "the horse being ridden", but "human being"
    name, named_places = _read_name(words[:end])
    places = (*places, *named_places)
    attributes, relations = _read_clauses(words[end:])
    is_strong = bool(places) or any(word in _NEGATIONS or word in _LINKS for word in words[end:])
    if not (words[end:] or places) or not (determined or is_strong) or not _names_one(name):
        return None
    return Reference("" if name.split(" ")[0] in _NAMELESS else name, places, attributes, relations)


def _spaced(phrase: str) -> str:
    """One spelling, with commas as words."""
    return " ".join(normalise(phrase).replace(",", " , ").replace("\N{RIGHT SINGLE QUOTATION MARK}", "'").split())


def _starts_clause(word: str, index: int) -> bool:
    if word in _LINKS or word in _NEGATIONS or word in _PREPOSITIONS or word == ",":
        return True
    return index > 0 and (word in _VERBS or word in _EXTREMES)


def _take_places(text: str) -> tuple[str, tuple[Place, ...]]:
    """Take the patterns of place out of a phrase."""
    places = []
    counted = _COUNTED.search(text)
    if counted and not any(map(_starts_clause, text[: counted.start()].split(), range(99))):
        places.append(
            Place(_SIDES.get(counted[3], "front" if counted[3] == "front" else "back"), _ORDINALS[counted[1]])
        )
        text = text[: counted.start()] + counted[2].strip() + text[counted.end() :]
    for pattern, sides in _PLACES:
        if found := pattern.search(text):
            places.extend(Place(side) for side in sides)
            text = text[: found.start()] + text[found.end() :]
    return " ".join(text.split()), tuple(places)


def _read_name(words: list[str]) -> tuple[str, tuple[Place, ...]]:
    """Part a noun phrase into the name and the places among its adjectives."""
    head = words[-1] if words else ""
    kept, places = [], []
    for word in words[:-1]:
        is_side = word in _SIDES and not (word in _WEAK_SIDES and head in _PARTS)
        if is_side and "of" not in kept:
            places.append(Place(_SIDES[word]))
        elif word != "most":
            kept.append(word)
    if head in _SIDES and head not in _WEAK_SIDES:  # "the leftmost", "the smallest"
        return "one", (*places, Place(_SIDES[head]))
    return " ".join([*kept, head]).strip(), tuple(places)


def _names_one(name: str) -> bool:
    words = name.split(" of ")[0].split(" ")
    if not name or "and" in words or "or" in words:
        return False
    return words[-1] in PLURAL_ONLY or singular(words[-1]) == words[-1]


def _read_clauses(words: list[str]) -> tuple[tuple[Attribute, ...], tuple[Relation, ...]]:
    attributes: list[Attribute] = []
    relations: list[Relation] = []
    for clause, is_negated in _split_clauses(words):
        bonds = [(found, bond) for pattern, bond in _BONDS if (found := pattern.search(clause))]
        if not bonds:
            attributes.extend(_attribute(clause, is_negated=is_negated))
            continue
        bonds.sort(key=lambda one: (one[0].start(), -one[0].end()))
        while len(bonds) > 1 and not _strip(clause[bonds[0][0].end() : bonds[1][0].start()].split()):
            # "inside on the right of": the later one, unless it is a part of the earlier
            bonds.pop(0 if bonds[1][0].start() >= bonds[0][0].end() else 1)
        found, bond = bonds[0]
        other = " ".join(_strip(clause[found.end() :].split()))
        if other and "camera" not in other:
            relations.append(Relation(bond, other, is_negated))
        # "not sitting on the bench" denies the bench; "in a hat by the bar" says both
        if not (is_negated and other):
            attributes.extend(_attribute(clause[: found.start()], is_negated=is_negated))
    return tuple(attributes), tuple(relations)


def _split_clauses(words: list[str]) -> Iterator[tuple[str, bool]]:
    """Cut after commas and before "and", "but", "who" and the words that deny; "neither" holds until the end."""
    clause: list[str] = []
    is_negated = False
    denies_all = False
    for word in (*words, ","):
        joins = word in (",", "and", "but", "or", "nor", "who", "which", "that") or word in _NEGATIONS
        if joins or (clause and word in _VERBS and clause[-1] not in _VERBS):
            if _strip(clause):
                yield " ".join(clause), is_negated
                is_negated = denies_all
                clause = []
            elif joins:
                clause = []
            denies_all = word != "," and (denies_all or word in ("neither", "nor"))
            is_negated = (is_negated and word not in (",", "but")) or denies_all or word in _NEGATIONS
            if joins:
                continue
        clause.append(word)


def _attribute(clause: str, *, is_negated: bool) -> Iterator[Attribute]:
    words = _strip(clause.split())
    if words and not all(word in _VERBS for word in words):  # how somebody stands is not seen
        yield Attribute(" ".join(words), is_negated)


def _strip(words: list[str]) -> list[str]:
    """Drop the words that carry no meaning of their own."""
    return [word for word in words if word not in _EMPTY and word != ","]
