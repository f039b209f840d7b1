"""What a referring phrase says: a thing's name, and what tells the one that is meant from the others of its name.

"the second white car from the left, not behind a tree" is the name "white car", a place (rank 2 from the left) and a
relation that must not hold. The other thing of a relation is read in the same way: "the dog held by the man in red" is
a dog that touches what "the man in red" means. Plain names say nothing of the kind ("traffic light", "cup of coffee",
"front left door"), nor do plurals; for them there is no reference.

The grammar is a handful of word lists and patterns. It was written looking at phrases that people made for training
images; it reads English.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from promptseg.language.phrases import broader, canonical, normalize_phrase, singular
from promptseg.language.spatial import IMAGE, Place, read_name, take_places
from promptseg.language.synonyms import PLURAL_ONLY

Bond = Literal["touch", "near", "far", "left", "right", "above", "below", "front", "behind"]


@dataclass(frozen=True)
class Attribute:
    """What the thing wears, holds, does or looks like, in the phrase's words; or does not."""

    text: str
    is_negated: bool = False


@dataclass(frozen=True)
class Relation:
    """How the thing lies to another one."""

    bond: Bond
    other: "Reference"
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


_NAMELESS = frozenset("one object thing figure something anything".split())
_SOMEBODY = frozenset("someone somebody anyone anybody".split())
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
    "partially cut being".split()
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

_JOINTS = frozenset((",", "and", "but", "or", "nor", "with", "in")) | _LINKS | _NEGATIONS
TURNED = frozenset(("facing-camera", "facing-away"))  # written as one word

_BODY = r"(?:(?:left|right|top|one|same) )?(?:hands?|shoulders?|arms?|lap|head|back)"
# how a phrase says the bond, longer ways first; a bond that is written with "not " is the opposite of another
_BONDS: tuple[tuple[str, str], ...] = (
    (r"(?:(?:on|to|at) the )?(?:far )?left(?: hand)?(?: side)? of", "left"),
    (r"(?:(?:on|to|at) the )?(?:far )?right(?: hand)?(?: side)? of", "right"),
    (rf"(?:in|on) (?:the )?{_BODY} of", "touch"),
    (r"(?:held|cut|\w+(?:ed|en|wn)) by|own by|on top of|on|inside(?: of)?|against", "touch"),
    (r"outside(?: of)?", "not touch"),
    (r"in front of", "front"),
    (r"behind", "behind"),
    (r"(?:right )?above|over", "above"),
    (r"below|under|underneath|beneath", "below"),
    (r"(?:furthest|farthest|far|away)(?: away)? from", "far"),
    (
        r"next to|nearest(?: to)?|closest to|close to|near(?: to)?|(?:right )?beside|(?:right )?by|adjacent to|"
        r"alongside|between|opposite|at",
        "near",
    ),
)
_MARK = re.compile("|".join(rf"(?P<b{index}>\b(?:{words})(?!\S))" for index, (words, _) in enumerate(_BONDS)))
_CAMERA = r"(?:to|at|into|towards?|facing)"
_TURNED = (
    (re.compile(r"(?:facing|looking|turned|moving|walking) away(?: from the camera)?"), "facing-away"),
    (re.compile(rf"(?:\w+ )?backs? (?:\w+ )?{_CAMERA} the camera"), "facing-away"),
    (re.compile(rf"(?:facing|looking) (?:\w+ )?(?:{_CAMERA} )?the camera"), "facing-camera"),
)
_IN_HAND = re.compile(r" (?:in|with) (?:the|one|his|her|their|both|a)?(?: ?(?:left|right))? ?hands?\b(?! of)")


def parse_reference(phrase: str) -> Reference | None:
    """Read a referring phrase; None for a plain name, a plural, and whatever has nothing to choose one thing by.

    With "the" or "a" any clause refers ("the person on the bench"); without, only a place, a negation or a relative
    clause does, for "person on a scooter" may name a kind of thing, unless the phrase names none ("object under ...").

    Example:
        >>> parse_reference("the second worker from the right")
        Reference(name='worker', places=(Place(side='right', rank=2),), attributes=(), relations=())
        >>> parse_reference("traffic light") is None
        True
    """
    text = re.sub(rf" (?:in|of|on) (?:the|this|an?) {IMAGE}$", "", _spaced(phrase))
    text = re.sub(r"^one of the (\S+)", lambda found: f"the {singular(found[1])}", text)
    determined = re.match(r"(?:the|an?) ", text)
    text = text[determined.end() :] if determined else text
    if text.split(" ", 1)[0] in _UNCOUNTED:
        return None
    text, places = take_places(text, is_clause=_starts_clause)
    words = _mark_bonds(text).split(" ")
    name, named_places, clauses = _part(words)
    places = (*places, *named_places)
    is_strong = bool(places) or any(word in _NEGATIONS or word in _LINKS for word in clauses)
    is_strong |= name.split(" ")[0] in _NAMELESS
    if not (clauses or places) or not (determined or is_strong) or not _names_one(name):
        return None
    draft = _Draft(name, places)
    _read_clauses(clauses, draft)
    return draft.build()


def _spaced(phrase: str) -> str:
    """One spelling, with commas as words."""
    text = " ".join(
        normalize_phrase(phrase).replace(",", " , ").replace("\N{RIGHT SINGLE QUOTATION MARK}", "'").split()
    )
    for pattern, word in _TURNED:
        text = pattern.sub(word, text)
    return _IN_HAND.sub("", text)


def _mark_bonds(text: str) -> str:
    """Put one word in angle brackets for the words of each bond."""

    def mark(found: re.Match[str]) -> str:
        bond = _BONDS[int(str(found.lastgroup)[1:])][1]
        return f"not <{bond[4:]}>" if bond.startswith("not ") else f"<{bond}>"

    return _MARK.sub(mark, text)


def _starts_clause(word: str, index: int) -> bool:
    if word in _LINKS or word in _NEGATIONS or word in _PREPOSITIONS or word == "," or word[0] == "<":
        return True
    return index > 0 and (word in _VERBS or word in _EXTREMES or word in TURNED)


def _part(words: list[str]) -> tuple[str, tuple[Place, ...], list[str]]:
    """Part the words of a thing into its name, the places in it, and its clauses."""
    end = next((index for index, word in enumerate(words) if word and _starts_clause(word, index)), len(words))
    name, places = read_name(words[:end])
    return name, places, words[end:]


def _names_one(name: str) -> bool:
    words = name.split(" of ")[0].split(" ")
    if not name or "and" in words or "or" in words:
        return False
    return words[-1] in PLURAL_ONLY or singular(words[-1]) == words[-1]


@dataclass
class _Draft:
    name: str
    places: tuple[Place, ...] = ()
    attributes: list[Attribute] = field(default_factory=list)
    relations: list[tuple[Bond, "_Draft", bool]] = field(default_factory=list)

    @property
    def is_somebody(self) -> bool:
        name = canonical(self.name.split(" of ")[0].split(" ")[-1])
        return name == "person" or "person" in broader(name)

    def build(self) -> Reference:
        first = self.name.split(" ")[0]
        name = "" if first in _NAMELESS else "person" if first in _SOMEBODY else self.name
        relations = (Relation(bond, other.build(), is_negated) for bond, other, is_negated in self.relations)
        return Reference(name, self.places, tuple(self.attributes), tuple(relations))


def _read_clauses(words: Sequence[str], head: _Draft) -> None:
    """Read what clauses say of the head, or of the other thing that was named last.

    A clause goes on about the other thing where that is somebody, or where "that" or "which" follow it: "the bag of
    the man in red", "near the case that is red"; after a comma or "but" it is about the head again.
    """
    subject, latest = head, None  # whom it is about, and what a relation has just named
    bond: Bond | None = None
    clause: list[str] = []
    is_negated = denies_all = False
    for word in (*words, ","):
        is_bond = word[0] == "<"
        joins = is_bond or word in _JOINTS
        is_apart = word in TURNED or bool(clause and clause[-1] in TURNED)
        if not joins and not is_apart and not (clause and word in _VERBS and clause[-1] not in _VERBS):
            clause.append(word)
            continue
        content = _strip(clause)
        is_said = bool(content) and not (bond and _VERBS.issuperset(content))
        # "not sitting on the bench" denies the bench
        denies_rest = is_negated and (is_bond or word in ("in", "with")) and _VERBS.issuperset(content)
        if is_said and bond is not None:
            latest = _read_other(content)
            subject.relations.append((bond, latest, is_negated))
        elif is_said and not denies_rest:
            subject.attributes.append(Attribute(" ".join(content), is_negated))
            latest = None
        if is_said:
            is_negated = denies_rest or denies_all or (is_negated and word == "or")
        bond = word[1:-1] if is_bond else None  # type: ignore[assignment]
        if word in (",", "but"):
            subject, latest = head, None
            is_negated = denies_all = False
        elif word in ("and", "or"):
            latest = None
        elif latest is not None and (latest.is_somebody or word in ("that", "which")):
            subject = latest
        denies_all |= word in ("neither", "nor")
        is_negated |= denies_all or word in _NEGATIONS
        clause = [] if joins else [word]


def _read_other(words: list[str]) -> _Draft:
    name, places = read_name([word for word in words if word not in _VERBS])
    return _Draft(singular(name) if name else name, places)


def _strip(words: list[str]) -> list[str]:
    """Drop the words that carry no meaning of their own."""
    return [word for word in words if word not in _EMPTY and word != ","]
