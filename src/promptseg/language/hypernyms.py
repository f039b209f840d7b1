"""Find the nearest trained hypernym of a name that a model was not trained on, by tables.

A sentence encoder embeds "apple" near "ipod". WordNet says that it is a fruit, and the model was trained on "fruit".

Source:
    WordNet 3.1 (Princeton University; Fellbaum 1998), nouns that an image can show, as scripts/make_nouns.py writes
    them: one line a meaning (synset), its words and, after a tab, the line numbers of its hypernyms. A word is read as
    the meaning where it is marked with "*".
"""

import gzip
import re
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cache
from importlib import resources

from promptseg.language.attributes import ATTRIBUTES
from promptseg.language.phrases import broader, canonical, normalize_phrase, singular, without_article

TABLE = "nouns.txt.gz"
# The words from here on describe the object or its surroundings.
_REST = re.compile(
    r" (of|in|on|at|with|without|near|by|from|for|to|behind|under|above|beside|that|which|who|is|and|or)\b.*"
)

# Shorter words in -ing and -ed are nouns ("ring", "bed").
_PARTICIPLE = re.compile(r"\w{3,}(?:ing|ed)$")


def nearest_hypernym(name: str, trained_names: Collection[str]) -> str | None:
    """Find the nearest trained hypernym of a name.

    Args:
        name: In any spelling. Of a phrase its head counts: "a ripe apple on the table" is an apple.
        trained_names: As `normalize_phrase` spells them.

    Returns:
        One of `trained_names`. None where the model was trained on the name, on its head or on a synonym, and where no
        hypernym was trained.

    Example:
        >>> nearest_hypernym("apples", {"fruit", "food"}), nearest_hypernym("an apple on a table", {"apple", "fruit"})
        ('fruit', None)
    """
    words = split_head(name)
    for start in range(len(words)):
        tail = " ".join(words[start:])
        forms = dict.fromkeys((tail, singular(tail), canonical(tail)))
        if any(form in trained_names for form in forms):
            return None
        for form in forms:
            for hypernym in _iterate_hypernyms(form, is_head=start > 0):
                if hypernym in trained_names:
                    return hypernym
    return None


def split_head(name: str) -> list[str]:
    """Split a name in any spelling into words, the head last, without the words that describe it from behind.

    Example:
        >>> split_head("a ripe apple on the table")
        ['ripe', 'apple']
    """
    return _REST.sub("", without_article(normalize_phrase(name))).split(" ")


def split_subject(name: str) -> list[str]:
    """Split a name into words like `split_head`; a participle behind a noun begins the description too.

    Example:
        >>> split_subject("old man riding a horse"), split_subject("large dining table")
        (['old', 'man'], ['large', 'dining', 'table'])
    """
    words = split_head(name)
    for index in range(1, len(words)):
        noun = words[index - 1]
        is_noun = noun not in ATTRIBUTES and any(form in load_nouns().meaning_of for form in (noun, singular(noun)))
        if is_noun and _PARTICIPLE.match(words[index]):
            return words[:index]
    return words


def _iterate_hypernyms(name: str, *, is_head: bool) -> Iterator[str]:
    """Yield the names of all hypernyms, near ones first: those of the taxonomy, then those of WordNet.

    Args:
        name: A word, or several that are one entry of WordNet.
        is_head: The name is only the end of what was asked, where it may mean something else than alone: the booth of a
            "phone booth" is no table, and a "game controller" no person. So a hypernym of WordNet counts only where
            all of the head's meanings have it.
    """
    above = broader(name)
    yield from sorted(above, key=lambda one: (-len(broader(one)), one))  # the deeper in the taxonomy, the nearer
    nouns = load_nouns()
    if name not in nouns.meaning_of:
        return
    meant = nouns.meaning_of[name]
    meanings = nouns.meanings_of[name] if is_head else (meant,)
    shared = Counter(row for meaning in meanings for row in nouns.above(meaning))
    for row in nouns.above(meant):
        if shared[row] == len(meanings):
            yield from nouns.words[row]


@dataclass(frozen=True)
class Nouns:
    """WordNet's meanings, numbered.

    Attributes:
        meaning_of: The meaning that a word is read as.
        meanings_of: All meanings of a word.
        words: The words of each meaning.
        parents: The direct hypernyms of each meaning.
    """

    meaning_of: dict[str, int]
    meanings_of: dict[str, list[int]]
    words: tuple[tuple[str, ...], ...]
    parents: tuple[tuple[int, ...], ...]

    def above(self, meaning: int) -> list[int]:
        """List all hypernyms of a meaning, near ones first."""
        level = [meaning]
        seen = dict.fromkeys(level)
        while level:
            level = [row for row in dict.fromkeys(up for row in level for up in self.parents[row]) if row not in seen]
            seen |= dict.fromkeys(level)
        return list(seen)[1:]


@cache
def load_nouns() -> Nouns:
    """Load the table, about 42,000 meanings; once a process."""
    packed = resources.files("promptseg.language").joinpath(TABLE).read_bytes()
    meaning_of, words, parents = {}, [], []
    meanings_of: dict[str, list[int]] = {}
    for row, line in enumerate(gzip.decompress(packed).decode().splitlines()):
        lemmas, above = line.split("\t")
        marked = lemmas.split(",")
        meaning_of.update({word[1:]: row for word in marked if word.startswith("*")})
        words.append(tuple(word.removeprefix("*") for word in marked))
        for word in words[-1]:
            meanings_of.setdefault(word, []).append(row)
        parents.append(tuple(int(parent) for parent in above.split(",") if parent))
    return Nouns(meaning_of, meanings_of, tuple(words), tuple(parents))
