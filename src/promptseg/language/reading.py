"""Read a phrase once: its classes, its hypernym, and the referring expression that it is."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from promptseg.language.expression import ReferringExpression
from promptseg.language.hypernyms import load_nouns, nearest_hypernym, split_subject
from promptseg.language.imagenet import find_imagenet_classes
from promptseg.language.known_name import find_known_name
from promptseg.language.person_kinds import PersonKind, find_person_kind
from promptseg.language.phrases import broader, canonical, normalize_phrase, without_article
from promptseg.language.referring_parser import parse_referring_expression
from promptseg.language.spatial import SIDES
from promptseg.language.synonyms import SYNONYMS


@dataclass(frozen=True)
class PhraseReading:
    """What a phrase says. Classes are indexes into the detector's names, in ascending order.

    Attributes:
        text: The normalized phrase, with hyphens as the model knows them, or the trained name that it was taken as; the
            phrase itself where normalizing leaves nothing.
        exact_classes: Classes whose name says the same as the phrase.
        full_classes: Classes all of whose instances are what the phrase says: the exact ones; where there are none,
            the hyponyms.
        any_classes: Classes that an object of the phrase may go by: the same name, a hypernym, or hyponyms. All
            classes where the phrase is empty.
        kind_classes: Classes that every object of the phrase belongs to: the same name or a hypernym, of the phrase or
            of its end; empty for a name that is broader than the classes.
        person_kind: What an untrained phrase says of people ("woman", "kids") if the detector knows people; else None.
        imagenet_classes: Classes of ImageNet that are kinds of the name; empty if the model has no such classifier.
        hypernym: The nearest trained hypernym, where the model was not trained on the name; else None.
        read_as: The trained name that the phrase was taken as, if that is no other word for the same: the head of
            "soapbox cart", a hypernym, a guess what was misspelled. None: the phrase was taken as it is.
        expression: None for a plain name.
        mentions: A reading of every name that the expression speaks of, in the order of `ReferringExpression.names`;
            the subject is the first. Empty without an expression. A mention has no expression of its own.
    """

    text: str
    exact_classes: tuple[int, ...] = ()
    full_classes: tuple[int, ...] = ()
    any_classes: tuple[int, ...] = ()
    kind_classes: tuple[int, ...] = ()
    person_kind: PersonKind | None = None
    imagenet_classes: tuple[int, ...] = ()
    hypernym: str | None = None
    read_as: str | None = None
    expression: ReferringExpression | None = None
    mentions: tuple["PhraseReading", ...] = ()


@dataclass(frozen=True)
class PhraseReader:
    """Reads phrases for one model.

    Attributes:
        detector_names: Names of the detector's classes; empty without a detector.
        trained_names: Names that the model was trained on, as `normalize_phrase` spells them. Empty: no hypernyms.
        knows_imagenet: Whether the model has a classifier of ImageNet's classes.
    """

    detector_names: tuple[str, ...] = ()
    trained_names: frozenset[str] = frozenset()
    knows_imagenet: bool = False

    @property
    def people_classes(self) -> tuple[int, ...]:
        """The detector's classes of people."""
        return self._classes.get("person", ())

    def read(self, phrase: str) -> PhraseReading:
        """Read a phrase in any spelling.

        Example:
            >>> reader = PhraseReader(("person", "car", "bus"), frozenset({"fruit"}))
            >>> reader.read("Taxi").any_classes, reader.read("vehicle").full_classes, reader.read("apple").hypernym
            ((1,), (1, 2), 'fruit')
            >>> [mention.text for mention in reader.read("the woman next to the red car").mentions]
            ['woman', 'red car']
        """
        expression = parse_referring_expression(phrase)
        mentions = () if expression is None else tuple(self._read_name(name) for name in expression.names())
        return self._read_name(phrase, expression, mentions)

    def _read_name(
        self,
        phrase: str,
        expression: ReferringExpression | None = None,
        mentions: tuple[PhraseReading, ...] = (),
    ) -> PhraseReading:
        known = find_known_name(self._spell(phrase), self.trained_names)
        text = known.text
        name = canonical(without_article(text))
        exact = self._classes.get(name, ())
        hypernym = self._find_hypernym(text)
        people = self.people_classes
        # what was trained is found by its map
        is_judged = people and self.knows_imagenet and not {text, name} & self.trained_names
        person_kind = find_person_kind(text) if is_judged else None
        return PhraseReading(
            text=text or phrase,
            exact_classes=exact,
            full_classes=exact or self._hyponyms.get(name, ()),
            any_classes=self._find_any(text) or (() if person_kind is None else people),
            kind_classes=self._find_kind(text, hypernym) if person_kind is None else people,
            person_kind=person_kind,
            imagenet_classes=find_imagenet_classes(text) if self.knows_imagenet else (),
            hypernym=hypernym,
            read_as=_taken_as(person_kind) if person_kind is not None else hypernym if known.is_same else text,
            expression=expression,
            mentions=mentions,
        )

    def _spell(self, phrase: str) -> str:
        """Normalize a phrase; write it like the trained name that differs in hyphens only, else without hyphens.

        A hyphen stays in a word that a table has with it only ("t-shirt", "x-ray"), and beside a single letter.
        """
        text = normalize_phrase(phrase)
        if text in self.trained_names:
            return text
        if twin := self._hyphenated.get(text.replace("-", " ")):
            return twin
        if "-" not in text:
            return text
        words = (word if self._keeps_hyphen(word) else word.replace("-", " ") for word in text.split(" "))
        return " ".join(" ".join(words).split())

    def _keeps_hyphen(self, word: str) -> bool:
        if word in self._hyphenated_words or re.search(r"(?<![^\W_])[^\W_]-|-[^\W_](?![^\W_])", word):
            return True
        nouns = load_nouns().meanings_of
        return word in nouns and word.replace("-", " ") not in nouns

    @cached_property
    def _hyphenated(self) -> dict[str, str]:
        """Trained names with hyphens, by what they are without."""
        return {name.replace("-", " "): name for name in sorted(self.trained_names) if "-" in name}

    @cached_property
    def _hyphenated_words(self) -> frozenset[str]:
        """Words with a hyphen, of trained names and of the tables."""
        names = (*self.trained_names, *SIDES, *(name for group in SYNONYMS for name in group))
        return frozenset(word for name in names if "-" in name for word in name.split(" ") if "-" in word)

    def _find_hypernym(self, text: str) -> str | None:
        if not self.trained_names or text in self.trained_names:
            return None
        return nearest_hypernym(text, self.trained_names)

    def _find_any(self, text: str, *, with_hyponyms: bool = True) -> tuple[int, ...]:
        """Find `any_classes`: of the longest end of the subject that has any; or `kind_classes`."""
        if not self.detector_names:
            return ()
        words = split_subject(text)
        if words == [""]:
            return tuple(range(len(self.detector_names))) if with_hyponyms else ()
        for start in range(len(words)):
            name = canonical(" ".join(words[start:]))
            hypernyms = sorted(index for above in broader(name) for index in self._classes.get(above, ()))
            if found := self._classes.get(name) or tuple(hypernyms):
                return found
            if hyponyms := self._hyponyms.get(name):
                return hyponyms if with_hyponyms else ()
        return ()

    def _find_kind(self, text: str, hypernym: str | None) -> tuple[int, ...]:
        """Find `kind_classes`: those of the phrase, else those of its hypernym."""
        found = self._find_any(text, with_hyponyms=False)
        return found or self._classes.get(canonical(hypernym or ""), ())

    @cached_property
    def _classes(self) -> dict[str, tuple[int, ...]]:
        """Classes by their canonical name."""
        return _group((canonical(name), index) for index, name in enumerate(self.detector_names))

    @cached_property
    def _hyponyms(self) -> dict[str, tuple[int, ...]]:
        """Classes by each of their hypernyms."""
        return _group((above, index) for index, name in enumerate(self.detector_names) for above in broader(name))


def _taken_as(person_kind: PersonKind) -> str | None:
    return person_kind.name if person_kind.says_more else None


def _group(pairs: Iterable[tuple[str, int]]) -> dict[str, tuple[int, ...]]:
    groups: dict[str, list[int]] = {}
    for name, index in pairs:
        groups.setdefault(name, []).append(index)
    return {name: tuple(indexes) for name, indexes in groups.items()}
