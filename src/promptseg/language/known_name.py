"""Find the trained name that an untrained phrase says: a variant of it, or its head noun.

variant    "grey squirrels" for "gray squirrel", "brolly" for "umbrella": the same meaning
head       "soapbox cart" for "cart", "cup of coffee" for "cup": a broader meaning
spelling   "girafe" for "giraffe": a guess
"""

import difflib
import re
from collections.abc import Iterator, Set
from dataclasses import dataclass
from functools import lru_cache

from promptseg.language.attributes import ATTRIBUTES, GROUPS
from promptseg.language.hypernyms import load_nouns, split_head
from promptseg.language.phrases import broader, canonical, plural, singular, synonyms, without_article
from promptseg.language.synonyms import SPELLINGS

# Shorter words have too many neighbors to guess what was meant.
MIN_GUESSED_LETTERS = 5
MIN_LIKENESS = 0.8
# A cup of coffee is a cup, but "the dogs of the man" are not all dogs.
_CONTENTS = re.compile(r" of (?!(?:the|a|an|my|your|his|her|its|our|their|this|that)\b)")
_BRITISH_TO_AMERICAN = {
    "aeroplane": "airplane", "armour": "armor", "axe": "ax", "centre": "center", "cheque": "check", "chilli": "chili",
    "colour": "color", "coloured": "colored", "doughnut": "donut", "fibre": "fiber", "grey": "gray",
    "harbour": "harbor",
    "jewellery": "jewelry", "kerb": "curb", "lorry": "truck", "motorbike": "motorcycle", "moustache": "mustache",
    "neighbour": "neighbor", "nappy": "diaper", "omelette": "omelet", "plough": "plow", "pram": "baby buggy",
    "pushchair": "baby buggy", "pyjamas": "pajamas", "rucksack": "backpack", "sulphur": "sulfur", "theatre": "theater",
    "tram": "streetcar", "trainer": "sneaker", "tyre": "tire", "waistcoat": "vest", "yoghurt": "yogurt",
}  # fmt: skip
_VARIANTS = _BRITISH_TO_AMERICAN | {american: british for british, american in _BRITISH_TO_AMERICAN.items()}


@dataclass(frozen=True)
class KnownName:
    """The name that a phrase is read as.

    Attributes:
        text: The phrase itself, or the trained name.
        is_same: Whether the name means the same as the phrase.
    """

    text: str
    is_same: bool = True


def find_known_name(text: str, trained_names: Set[str]) -> KnownName:
    """Find the trained name that a phrase says.

    Args:
        text: A phrase, as `normalize_phrase` writes it.
        trained_names: Likewise. Empty: nothing is known about the training, and the phrase stays as it is.

    Returns:
        The phrase itself where it was trained, where only attributes stand before a trained noun ("red car"), where
        WordNet or the taxonomy knows it (see `hypernyms`), and where nothing was found.

    Example:
        >>> names = {"cart", "cup", "umbrella", "giraffe"}
        >>> [find_known_name(text, names).text for text in ("soapbox cart", "a cup of coffee", "red cart", "girafe")]
        ['cart', 'cup', 'red cart', 'giraffe']
    """
    if not trained_names or text in trained_names:
        return KnownName(text)
    name = without_article(text)
    if same := _find_variant(name, trained_names):
        return KnownName(text if same in (name, singular(name)) else same)
    if _has_meaning(name):
        return KnownName(text)
    if (joined := name.replace(" ", "")) != name and _has_meaning(joined):
        return KnownName(joined)
    if head := _find_head(name, trained_names):
        return KnownName(text if head == name else head, is_same=head == name)
    guess = _guess_spelling(name, trained_names)
    return KnownName(text) if guess is None else KnownName(guess, is_same=False)


def _find_variant(name: str, trained_names: Set[str]) -> str | None:
    """Find a trained name of the same meaning: another number, a synonym, another spelling of a word."""
    return next((form for form in _iterate_forms(name) if form in trained_names), None)


def _iterate_forms(name: str) -> Iterator[str]:
    words = name.split(" ")
    spelled = " ".join(_VARIANTS.get(word, _VARIANTS.get(singular(word), word)) for word in words)
    for form in dict.fromkeys((name, spelled, "".join(words))):
        one = singular(form)
        yield from (form, one, plural(one), canonical(form), *synonyms(form), SPELLINGS.get(one, one))


def _has_meaning(name: str) -> bool:
    return bool(broader(name)) or any(form in load_nouns().meaning_of for form in (name, singular(name)))


def _find_head(name: str, trained_names: Set[str]) -> str | None:
    """Drop the words that make another kind of a trained noun; attributes stay."""
    words = _split_of(name)
    for start in range(len(words)):
        tail = " ".join(words[start:])
        if _find_variant(tail, trained_names) is not None:
            kept = [word for word in words[:start] if word in ATTRIBUTES]
            is_whole = len(kept) == start and not _CONTENTS.search(name)
            return name if is_whole else " ".join((*kept, tail))
        if start and _has_meaning(tail):
            return None  # a meaning of its own, that was not trained: its hypernym counts
    return None


def _split_of(name: str) -> list[str]:
    """Split a name into words, the head last: of "pair of old shoes" what the group consists of."""
    first, of, rest = name.partition(" of ")
    if of and singular(first.split(" ")[-1]) in GROUPS:
        return split_head(rest)
    return split_head(name)


def _guess_spelling(name: str, trained_names: Set[str]) -> str | None:
    """Find the one trained name that is spelled nearly so; None for names that are known words, or too short."""
    if len(name) < MIN_GUESSED_LETTERS or any(word in load_nouns().meanings_of for word in name.split(" ")):
        return None
    one = singular(name)
    alike = difflib.get_close_matches(one, share_letters(one, frozenset(trained_names)), n=2, cutoff=MIN_LIKENESS)
    same_start = [other for other in alike if other[0] == name[0]]
    return same_start[0] if len(same_start) == 1 else None


def share_letters(name: str, names: frozenset[str]) -> list[str]:
    """Keep the names that have so many letters of a name, in any order, that their likeness may reach the least one.

    difflib asks the same of each name before it compares them, but one by one, which takes several times as long.
    """
    letters, length = _letters_of(name), len(name)
    kept = []
    for other, its_letters, its_length in _letters_of_all(names):
        shared = min(
            length - (letters & ~its_letters).bit_count(),  # each letter that the other lacks is there once at least
            its_length - (its_letters & ~letters).bit_count(),
        )
        if 2.0 * shared / (length + its_length) >= MIN_LIKENESS:
            kept.append(other)
    return kept


@lru_cache(maxsize=4)
def _letters_of_all(names: frozenset[str]) -> tuple[tuple[str, int, int], ...]:
    """Give each name with its letters and its length, in alphabetical order."""
    return tuple((name, _letters_of(name), len(name)) for name in sorted(names))


def _letters_of(name: str) -> int:
    """Give the letters of a name as bits; a few letters share a bit."""
    letters = 0
    for letter in name:
        letters |= 1 << ord(letter) % 64
    return letters
