"""Kinds of things: what to look for when a name was never trained on, by tables and not by the sound of words.

A sentence encoder puts "apple" beside "ipod". WordNet says that it is a fruit, and fruit was trained.

Source:
    WordNet 3.1 (Princeton University; Fellbaum 1998), nouns that an image can show, as scripts/make_nouns.py writes
    them: a line for each meaning, its words and, after a tab, the lines of the meanings above it. A word is read as the
    meaning where it has a "*".
"""

import gzip
import re
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cache
from importlib import resources

from promptseg.language.phrases import broader, canonical, normalize_phrase, singular, without_article

TABLE = "nouns.txt.gz"
# What follows describes the thing, or its surroundings.
_REST = re.compile(
    r" (of|in|on|at|with|without|near|by|from|for|to|behind|under|above|beside|that|which|who|is|and|or)\b.*"
)


def kind_of(name: str, known: Collection[str]) -> str | None:
    """Find the nearest known kind of what a name or phrase means, where nothing in it is known already.

    Args:
        name: In any spelling; of a phrase its head counts: "a ripe apple on the table" is an apple.
        known: Names in the spelling of `normalize_phrase`.

    Returns:
        One of `known`; None where the thing is known under this or another name, or no kind of it is.

    Example:
        >>> kind_of("apples", {"fruit", "food"}), kind_of("an apple on a table", {"apple", "fruit"})
        ('fruit', None)
    """
    words = _REST.sub("", without_article(normalize_phrase(name))).split(" ")
    for start in range(len(words)):
        tail = " ".join(words[start:])
        forms = dict.fromkeys((tail, singular(tail), canonical(tail)))
        if any(form in known for form in forms):
            return None
        for form in forms:
            for kind in _kinds(form, is_head=start > 0):
                if kind in known:
                    return kind
    return None


def _kinds(name: str, *, is_head: bool) -> Iterator[str]:
    """Give every name for a kind that something is, near ones first; the table written by hand goes before WordNet.

    Args:
        name: A word, or several that WordNet has as one name.
        is_head: It is only the end of what was asked, where it may mean another thing than alone: the booth of a "phone
            booth" is no table. So WordNet's kinds count where at least half of all its meanings are of that kind.
    """
    above = broader(name)
    yield from sorted(above, key=lambda kind: (-len(broader(kind)), kind))  # the deeper in the table, the nearer
    nouns = _read_nouns()
    if name not in nouns.meaning_of:
        return
    meant = nouns.meaning_of[name]
    meanings = nouns.meanings_of[name] if is_head else (meant,)
    shared = Counter(row for meaning in meanings for row in nouns.above(meaning))
    for row in nouns.above(meant):
        if 2 * shared[row] >= len(meanings):
            yield from nouns.words[row]


@dataclass(frozen=True)
class _Nouns:
    """WordNet's meanings, numbered.

    Attributes:
        meaning_of: The meaning that a word is read as.
        meanings_of: All meanings that a word has.
        words: Words for each meaning.
        parents: The meanings that each is a kind of.
    """

    meaning_of: dict[str, int]
    meanings_of: dict[str, list[int]]
    words: tuple[tuple[str, ...], ...]
    parents: tuple[tuple[int, ...], ...]

    def above(self, meaning: int) -> list[int]:
        """List every meaning that one is a kind of, near ones first."""
        level = [meaning]
        seen = dict.fromkeys(level)
        while level:
            level = [row for row in dict.fromkeys(up for row in level for up in self.parents[row]) if row not in seen]
            seen |= dict.fromkeys(level)
        return list(seen)[1:]


@cache
def _read_nouns() -> _Nouns:
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
    return _Nouns(meaning_of, meanings_of, tuple(words), tuple(parents))
