"""Referring expressions: phrases that mean one object of a name."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from promptseg.language.spatial import SpatialConstraint

Predicate = Literal["touch", "near", "far", "left", "right", "above", "below", "front", "behind"]


@dataclass(frozen=True)
class Attribute:
    """What the object wears, holds, does or looks like.

    Attributes:
        text: In the phrase's words, without articles and auxiliary verbs.
        is_negated: The object must not have it.
    """

    text: str
    is_negated: bool = False


@dataclass(frozen=True)
class Relation:
    """How the object lies to another object.

    Attributes:
        predicate: "left" means that the object is to the left of the other one.
        other: The other object.
        is_negated: The relation must not hold.
    """

    predicate: Predicate
    other: "ReferringExpression"
    is_negated: bool = False


@dataclass(frozen=True)
class ReferringExpression:
    """A phrase that means one object of its name.

    Attributes:
        name: The object's name with its adjectives, singular; "" where the phrase only says "one" or "object".
        constraints: Where the object is among the objects of its name, or how large.
        attributes: From its clauses; adjectives are part of `name`.
        relations: In the order of the phrase.
    """

    name: str
    constraints: tuple[SpatialConstraint, ...] = ()
    attributes: tuple[Attribute, ...] = ()
    relations: tuple[Relation, ...] = ()

    def names(self) -> tuple[str, ...]:
        """List the names of all objects that the expression speaks of: its own first, each once; "" is any object."""
        return tuple(dict.fromkeys(self._iterate_names()))

    def _iterate_names(self) -> Iterator[str]:
        yield self.name
        for relation in self.relations:
            yield from relation.other._iterate_names()
