"""Parse a phrase that means one object of a name.

"the second white car from the left, not behind a tree" has the name "white car", a spatial constraint (rank 2 from the
left) and a relation that must not hold. The other object of a relation is an expression too: "the dog held by the man
in red" is a dog that touches an object "man" with the attribute "red". Plain names ("traffic light", "cup of coffee",
"front left door") and plurals are no referring expressions.

The parser works in three steps: patterns replace what names a predicate by a mark ("<near>"); the words are split into
clauses; each clause becomes an attribute or a relation of the subject, or of an object named before. It knows English
only. Its word lists were written with the referring expressions of training images at hand.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count, pairwise
from typing import get_args

from promptseg.language.expression import Attribute, Predicate, ReferringExpression, Relation
from promptseg.language.phrases import broader, canonical, normalize_phrase, singular
from promptseg.language.spatial import IMAGE, SpatialConstraint, read_name, take_constraints
from promptseg.language.synonyms import PLURAL_ONLY

_NAMELESS = frozenset("one object thing figure something anything".split())
_SOMEBODY = frozenset("someone somebody anyone anybody".split())
_UNCOUNTED = frozenset(
    "all every each both some several many any two three four five six no this these those there here where".split()
)
_EXTREMES = frozenset("closest nearest farthest furthest".split())  # a constraint before a name, a relation after it
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
_MARKS: dict[str, Predicate] = {f"<{predicate}>": predicate for predicate in get_args(Predicate)}
_JOINTS = frozenset((",", "and", "but", "or", "nor", "with", "in")) | _LINKS | _NEGATIONS | frozenset(_MARKS)

_BODY = r"(?:(?:left|right|top|one|same) )?(?:hands?|shoulders?|arms?|lap|head|back)"
# What names a predicate, longer ways first. "not " stands before the opposite of a predicate.
_PREDICATES: tuple[tuple[str, str], ...] = (
    (r"(?:(?:on|to|at) the )?(?:far )?left(?: hand)?(?: side)? of", "left"),
    (r"(?:(?:on|to|at) the )?(?:far )?right(?: hand)?(?: side)? of", "right"),
    (rf"(?:in|on) (?:the )?{_BODY} of", "touch"),
    (r"(?:held|cut|\w+(?:ed|en|wn)) by|own by|on top of|on|inside(?: of)?|against", "touch"),
    (r"outside(?: of)?", "not touch"),
    (r"in front of", "front"),
    (r"behind", "behind"),
    (r"(?:right )?above|over", "above"),
    (r"below|under|underneath|beneath", "below"),
    (
        r"(?:furthest|farthest|far|(?<!facing )(?<!looking )(?<!turned )(?<!moving )(?<!walking )away)(?: away)? from",
        "far",
    ),
    (
        r"next to|nearest(?: to)?|closest to|close to|near(?: to)?|(?:right )?beside|(?:right )?by|adjacent to|"
        r"alongside|between|opposite|at",
        "near",
    ),
)
_PREDICATE = re.compile("|".join(rf"(?P<p{row}>\b(?:{words})(?!\S))" for row, (words, _) in enumerate(_PREDICATES)))
# No object of the image: "looking away from the camera" is no distance. What is "close to the camera" is read before.
_VIEWER = re.compile(r"( away)? (?:from|at|to|towards?|into) the (?:camera|viewer|photographer)\b")
_IN_HAND = re.compile(r" (?:in|with) (?:the|one|his|her|their|both|a)?(?: ?(?:left|right))? ?hands?\b(?! of)")


@dataclass(frozen=True)
class _Clause:
    """Words that say one thing of an object.

    Attributes:
        joint: The word that joins it to what stands before, such as ",", "and", "who" or "<near>".
        words: Without those that carry no meaning; none where joints follow one another.
        is_negated: The object must not be so.
    """

    joint: str
    words: tuple[str, ...]
    is_negated: bool

    @property
    def predicate(self) -> Predicate | None:
        """The predicate of a relation; None for an attribute."""
        return _MARKS.get(self.joint)


@dataclass
class _Node:
    """An expression that clauses are still attached to."""

    name: str
    constraints: tuple[SpatialConstraint, ...] = ()
    attributes: list[Attribute] = field(default_factory=list)
    relations: list[tuple[Predicate, "_Node", bool]] = field(default_factory=list)

    @property
    def is_person(self) -> bool:
        name = canonical(self.name.split(" of ")[0].split(" ")[-1])
        return name == "person" or "person" in broader(name)

    def build(self) -> ReferringExpression:
        first = self.name.split(" ")[0]
        name = "" if first in _NAMELESS else "person" if first in _SOMEBODY else self.name
        relations = (Relation(predicate, other.build(), is_negated) for predicate, other, is_negated in self.relations)
        return ReferringExpression(name, self.constraints, tuple(self.attributes), tuple(relations))


def parse_referring_expression(phrase: str) -> ReferringExpression | None:
    """Parse a phrase in any spelling.

    After "the" or "a" any clause makes a referring expression ("the person on the bench"). Without an article only a
    spatial constraint, a negation or a relative clause does, because "person on a scooter" may name a kind of object;
    so does a subject without a name ("object under the table").

    Returns:
        None for a plain name, a plural, and a phrase that says nothing to choose one object by.

    Example:
        >>> parse_referring_expression("the second worker from the right").constraints
        (SpatialConstraint(side='right', rank=2),)
        >>> parse_referring_expression("traffic light") is None
        True
    """
    if " " not in phrase.strip():
        return None  # one word has nothing to choose an object by
    text = re.sub(rf" (?:in|of|on) (?:the|this|an?) {IMAGE}$", "", _spell(phrase))
    text = re.sub(r"^one of the (\S+)", lambda found: f"the {singular(found[1])}", text)
    article = re.match(r"(?:the|an?) ", text)
    text = text[article.end() :] if article else text
    if text.split(" ", 1)[0] in _UNCOUNTED:
        return None
    text, constraints = take_constraints(text, starts_clause=_starts_clause)
    words = _mark_predicates(_VIEWER.sub(r"\1", text)).split(" ")
    end = next((index for index, word in enumerate(words) if word and _starts_clause(word, index)), len(words))
    name, adjectives = read_name(words[:end])
    subject = _Node(name, (*constraints, *adjectives))
    is_explicit = article is not None or _refers_without_article(subject, words[end:])
    if not (words[end:] or subject.constraints) or not is_explicit or not _is_singular(name):
        return None
    _attach(_read_clauses(words[end:]), subject)
    return subject.build()


def is_plain_name(phrase: str) -> bool:
    """Whether no word of a phrase starts a clause, and nothing in it chooses one object.

    Example:
        >>> is_plain_name("a remote control"), is_plain_name("not behind a tree")
        (True, False)
    """
    words = _mark_predicates(_spell(phrase)).split(" ")
    return parse_referring_expression(phrase) is None and not any(map(_starts_clause, words, count(1)))


def _spell(phrase: str) -> str:
    """Normalize a phrase, with commas as words."""
    text = normalize_phrase(phrase).replace(",", " , ")
    return _IN_HAND.sub("", " ".join(text.split()))


def _mark_predicates(text: str) -> str:
    """Replace the words of each predicate by its mark, such as "<near>" or "not <touch>"."""

    def mark(found: re.Match[str]) -> str:
        predicate = _PREDICATES[int(str(found.lastgroup)[1:])][1]
        return f"not <{predicate[4:]}>" if predicate.startswith("not ") else f"<{predicate}>"

    return _PREDICATE.sub(mark, text)


def _starts_clause(word: str, index: int) -> bool:
    if word in _LINKS or word in _NEGATIONS or word in _PREPOSITIONS or word == "," or word in _MARKS:
        return True
    return index > 0 and (word in _VERBS or word in _EXTREMES)


def _refers_without_article(subject: _Node, clause_words: Sequence[str]) -> bool:
    is_nameless = subject.name.split(" ")[0] in _NAMELESS
    return bool(subject.constraints) or is_nameless or any(word in _NEGATIONS | _LINKS for word in clause_words)


def _is_singular(name: str) -> bool:
    words = name.split(" of ")[0].split(" ")
    if not name or "and" in words or "or" in words:
        return False
    return words[-1] in PLURAL_ONLY or singular(words[-1]) == words[-1]


def _read_clauses(words: Sequence[str]) -> Iterator[_Clause]:
    """Yield the clauses with their negation, which goes on over "or", and after "neither" and "nor" up to a comma."""
    is_negated = denies_all = False
    for (joint, content), (following, _) in pairwise([*_split(words), (",", ())]):
        if joint in (",", "but"):
            is_negated = denies_all = False
        denies_all |= joint in ("neither", "nor")
        is_negated |= denies_all or joint in _NEGATIONS
        is_bare_verb = _VERBS.issuperset(content)
        if not content or (joint in _MARKS and is_bare_verb):
            yield _Clause(joint, (), is_negated)
        elif is_negated and is_bare_verb and (following in _MARKS or following in ("in", "with")):
            yield _Clause(joint, (), is_negated)  # "not sitting on the bench" denies the bench
        else:
            yield _Clause(joint, content, is_negated)
            is_negated = denies_all or (is_negated and following == "or")


def _split(words: Iterable[str]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Split words at joints and before verbs; yield each clause's joint, "" before a verb, and its content."""
    joint = ""
    clause: list[str] = []
    for word in words:
        starts_verb = bool(clause) and word in _VERBS and clause[-1] not in _VERBS
        if word in _JOINTS or starts_verb:
            yield joint, _strip(clause)
            joint, clause = (word, []) if word in _JOINTS else ("", [word])
        else:
            clause.append(word)
    yield joint, _strip(clause)


def _attach(clauses: Iterable[_Clause], head: _Node) -> None:
    """Attach each clause to the head, or to the object that was named last.

    A clause is about the object named last where that is a person, or where "that" or "which" follow it: "the bag of
    the man in red", "near the case that is red". After a comma or "but" it is about the head again.
    """
    subject = head
    latest: _Node | None = None  # the other object of the relation before
    for clause in clauses:
        if clause.joint in (",", "but"):
            subject, latest = head, None
        elif clause.joint in ("and", "or"):
            latest = None
        elif latest is not None and (latest.is_person or clause.joint in ("that", "which")):
            subject = latest
        if not clause.words:
            continue
        if clause.predicate is None:
            subject.attributes.append(Attribute(" ".join(clause.words), clause.is_negated))
            latest = None
        else:
            latest = _read_other(clause.words)
            subject.relations.append((clause.predicate, latest, clause.is_negated))


def _read_other(words: Sequence[str]) -> _Node:
    name, constraints = read_name([word for word in words if word not in _VERBS])
    return _Node(singular(name) if name else name, constraints)


def _strip(words: Iterable[str]) -> tuple[str, ...]:
    """Drop the words that carry no meaning of their own; "of" has one inside a name."""
    kept = [word for word in words if word == "of" or (word not in _EMPTY and word != ",")]
    while kept and kept[0] == "of":
        kept = kept[1:]
    while kept and kept[-1] == "of":
        kept = kept[:-1]
    return tuple(kept)
