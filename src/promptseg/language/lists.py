"""Tell a list of names in one text ("a cat. a remote control.", "cup, table") from one phrase with commas."""

import re
from collections.abc import Iterator

from promptseg.errors import PromptError
from promptseg.language.phrases import broader, canonical, normalize_phrase, singular, without_article
from promptseg.language.referring_parser import is_plain_name, parse_referring_expression
from promptseg.language.spatial import ORDINALS, SIDES

# A separator of names. A comma or full stop between digits is part of a number.
_MARK = re.compile(r"[;|\n\u3001\u3002\uff0c\uff1b\uff0e]|,(?!(?<=\d,)\d)|\.(?!(?<=\d\.)\d)")
# The text before a full stop that ends an abbreviation: "U.S", "J", "St".
_INITIALS = re.compile(r"(?:(?<![\w.])(?:\w\.)+\w|(?<![\w.])[A-Z])$")
_SHORTENED = re.compile(r"(?<!\w)(?:st|dr|mr|mrs|ms|prof|sgt|capt|jr|sr|no|nr|vs|mt|ft|oz|lb|approx)$", re.IGNORECASE)
_ARTICLE = re.compile(r"(?:an?|the)\s", re.IGNORECASE)
_CONJUNCTION = re.compile(r"^(?:and|or|&) | (?:and|or|&) ", re.IGNORECASE)
# Adjectives that are also nouns. A part that ends in one describes the object.
_DESCRIPTIONS = frozenset(
    "red yellow green blue purple pink brown black white grey gray beige golden dark big small large little tall "
    "short young old blond blonde brunette bald metal plastic front back foreground background side corner one two "
    "three four five".split()
)

# What stands before the names of a list that was copied from elsewhere: "- cat", "2. cat", "0: cat".
_LIST_MARK = re.compile(r"\s*(?:[-*\u2022\u2013]|\d+\s*[.:)])\s+(?=\S)")


def check_no_list_mark(line: str, where: str) -> None:
    """Check that a line of a file of names is the name alone.

    Raises:
        PromptError: It begins with the mark of a list, as in "- cat", "2. cat" and "0: cat".
    """
    if found := _LIST_MARK.match(line):
        raise PromptError(
            f"{where}: {line.strip()!r:.80} begins with {found[0].strip()!r}, as lists do; write the name alone: "
            f"{line[found.end() :].strip()!r:.80}"
        )


def split_names(text: str) -> tuple[str, ...]:
    """Split a text at commas, semicolons and full stops, but not inside of names and numbers.

    Returns:
        The parts that hold a letter or a digit, in order, without white space around them.

    Example:
        >>> split_names("U.S. flag, 3.5mm jack. St. Bernard. cup.")
        ('U.S. flag', '3.5mm jack', 'St. Bernard', 'cup')
    """
    return tuple(part for _, part in _iterate_parts(text))


def find_list(text: str) -> tuple[str, ...]:
    """Find the names of a text that lists several.

    Commas make a list where every part is a plain name. They make none where a part says where or what the object of
    another part is: "front, left door", "the second car, not behind a tree". Other separators always make a list.

    Returns:
        The names; none where the text is one phrase.

    Example:
        >>> find_list("a cat. a remote control."), find_list("cup, table and chair")
        (('a cat', 'a remote control'), ('cup', 'table', 'chair'))
        >>> find_list("1. cat"), find_list("the second white car from the left, not behind a tree")
        ((), ())
    """
    parts = list(_iterate_parts(text))
    if len(parts) < 2 or (len(parts) == 2 and parts[0][1].isdecimal() and parts[1][0] == "."):
        return ()  # "1. cat": a number of a list
    names = tuple(part for _, part in parts)
    by_comma = all(mark in (",", "\uff0c") for mark, _ in parts[1:])
    if not by_comma:
        return names
    names = (*names[:-1], *_iterate_conjuncts(names[-1]))
    if all(map(_names_one, names)):
        return names  # "the man on the left, the dog in the middle"
    if not all(map(_may_be_name, names)) or _refers(names):
        return ()
    return names if all(map(_is_known, names)) or _is_bare(names) else ()


def _iterate_parts(text: str) -> Iterator[tuple[str, str]]:
    """Yield each part with the separator before it, "" before the first."""
    before, start = "", 0
    for found in _MARK.finditer(text):
        if found[0] == "." and _is_inside_name(text[start : found.start()], text[found.end() :]):
            continue
        if part := _clean(text[start : found.start()]):
            yield before, part
        before, start = found[0], found.end()
    if part := _clean(text[start:]):
        yield before, part


def _clean(part: str) -> str:
    """Strip blanks, and the brackets and quotes of a list that a program wrote; "" where no letter or digit is left."""
    if not any(character.isalnum() for character in part):
        return ""
    part = part.strip().strip("[]{}").strip()
    return part[1:-1].strip() if part[0] == part[-1] and part[0] in "\"'" else part


def _is_inside_name(before: str, after: str) -> bool:
    """Whether a full stop between two texts is part of a name."""
    if after[:1].isspace() or not after:
        is_short = _INITIALS.search(before) or (after.strip() and _SHORTENED.search(before))
        return bool(is_short) and not _ARTICLE.match(after.lstrip())
    if not after[0].isalnum():
        return False
    if not before or before[-1].isspace() or re.search(r"(?<!\w)\w$", before):
        return True  # ".22 rifle", "U.S"
    joined = (re.split(r"\W", before)[-1], re.split(r"\W", after)[0])
    return not all(_is_known(word) for word in joined)  # "node.js", but two parts in "cat.dog"


def _iterate_conjuncts(part: str) -> Iterator[str]:
    """Split what ends a list: "table and chair", "and chair"."""
    yield from filter(None, (one.strip() for one in _CONJUNCTION.split(part)))


def _may_be_name(part: str) -> bool:
    name = without_article(normalize_phrase(part))
    head = name.split(" of ")[0].split(" ")[-1]
    return (
        bool(name) and head not in _DESCRIPTIONS and head not in SIDES and head not in ORDINALS and is_plain_name(part)
    )


def _names_one(part: str) -> bool:
    """Whether a part has an article and a known name, and perhaps clauses: more than a description of another part."""
    expression = parse_referring_expression(part)
    name = part if expression is None else expression.name
    return _ARTICLE.match(part) is not None and bool(name) and _may_be_name(name) and _is_known(name)


def _refers(names: tuple[str, ...]) -> bool:
    """Whether "the" stands before the first of two parts only: "the man, red shirt"."""
    first, *others = (normalize_phrase(name) for name in names)
    return len(others) == 1 and first.startswith("the ") and without_article(others[0]) == others[0]


def _is_bare(names: tuple[str, ...]) -> bool:
    """Whether unknown words look like names nevertheless: the last is a single word, or none is in Latin letters."""
    return " " not in names[-1] or not re.search("[a-z]", " ".join(names).lower())


def _is_known(name: str) -> bool:
    """Whether a name ends in a noun that a table has."""
    # here and not above: the table takes 0.4 s to load, and few texts have a separator
    from promptseg.language.hypernyms import load_nouns

    nouns = load_nouns().meanings_of
    words = without_article(normalize_phrase(name)).split(" of ")[0].split(" ")
    tails = [" ".join(words[start:]) for start in range(len(words))] + words[-1].split("-")[-1:]
    return any(form in nouns or broader(form) for tail in tails for form in (tail, singular(tail), canonical(tail)))
