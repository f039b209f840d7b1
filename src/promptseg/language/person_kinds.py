"""What a name says of a person besides being one: woman or man, child or adult. A literal table, written by hand."""

from dataclasses import dataclass
from typing import Literal

from promptseg.language.attributes import ATTRIBUTES
from promptseg.language.hypernyms import load_nouns, split_subject
from promptseg.language.phrases import canonical, singular

FEMALE = frozenset(
    "woman lady female girl actress ballerina bride bridesmaid businesswoman cowgirl daughter girlfriend granddaughter "
    "grandma grandmother housewife lass mom mother mum policewoman princess saleswoman schoolgirl sister sportswoman "
    "stewardess waitress wife".split()
)
MALE = frozenset(
    "man guy gentleman male boy bridegroom brother businessman cowboy craftsman dad fireman fisherman father fellow "
    "grandfather grandpa grandson husband lad policeman prince salesman schoolboy son sportsman waiter".split()
)
CHILD = frozenset(
    "child kid baby toddler infant newborn girl boy lass lad schoolgirl schoolboy schoolchild preschooler".split()
)
_OF_ANY_PERSON: dict[str, tuple[Literal["female", "male"] | None, bool]] = {
    "female": ("female", False), "male": ("male", False), "baby": (None, True),
}  # fmt: skip
_PLAIN_WORDS = frozenset(
    "woman lady female girl man guy gentleman male boy child kid baby toddler infant newborn".split()
)


@dataclass(frozen=True)
class PersonKind:
    """A kind of person.

    Attributes:
        gender: None: the name says nothing about it.
        is_child: Whether the name is one of children only.
        says_more: Whether the name says more than that: a waitress is not any woman.
    """

    gender: Literal["female", "male"] | None = None
    is_child: bool = False
    says_more: bool = False

    @property
    def name(self) -> str:
        """The plain word for the kind."""
        if self.gender is None:
            return "child"
        adult, child = ("woman", "girl") if self.gender == "female" else ("man", "boy")
        return child if self.is_child else adult


def find_person_kind(name: str) -> PersonKind | None:
    """Find the kind of person that a name in any spelling means; None for any other name, also for "person".

    Example:
        >>> [kind and kind.name for kind in map(find_person_kind, ("old women", "kid", "waiter", "person", "snow man"))]
        ['woman', 'child', 'man', None, None]
    """
    *before, head = split_subject(name)
    if any(word not in ATTRIBUTES and word in load_nouns().meaning_of for word in before):
        return None  # a snow man
    head = head[:-3] + "man" if head.endswith("men") else singular(head)
    gender: Literal["female", "male"] | None = "female" if head in FEMALE else "male" if head in MALE else None
    is_child = head in CHILD
    if gender is None and (is_child or canonical(head) == "person"):
        for word in before:
            its_gender, its_age = _OF_ANY_PERSON.get(word, (None, False))
            gender, is_child = gender or its_gender, is_child or its_age
    if gender is None and not is_child:
        return None
    return PersonKind(gender, is_child, says_more=head not in _PLAIN_WORDS and canonical(head) != "person")
