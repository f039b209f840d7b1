"""Names and phrases as text: their spelling, their synonyms, and which of them may name the same object."""

import re
import unicodedata
from collections.abc import Collection, Iterable, Iterator
from functools import cache, lru_cache

from promptseg.language.synonyms import PLURAL_ONLY, SPELLINGS, SYNONYMS
from promptseg.language.taxonomy import INTERCHANGEABLE, NARROWER, PARTS, UNRELATED

_EDGES = re.compile(r"^[\s.,;:!?\"“”„«»]+|[\s.,;:!?\"“”„«»]+$")
_ARTICLE = re.compile(r"^(?:(?:a|an|the|some|all|every|any|my|your|this|that|these|those) )+")
# Hyphens, minus and short dashes; apostrophes, primes and accents that stand for one; double quotes.
_ASCII = (
    dict.fromkeys((0x2010, 0x2011, 0x2012, 0x2013, 0x2043, 0x2212), "-")
    | dict.fromkeys((0x2018, 0x2019, 0x201A, 0x201B, 0x02BC, 0x2032, 0x00B4, 0x02B9), "'")
    | dict.fromkeys((0x201C, 0x201D, 0x201E, 0x201F, 0x2033), '"')
)
_WORD = re.compile(r"[\w'-]+")
_IRREGULAR = {
    "buses": "bus",
    "children": "child",
    "feet": "foot",
    "geese": "goose",
    "knives": "knife",
    "leaves": "leaf",
    "loaves": "loaf",
    "men": "man",
    "mice": "mouse",
    "oxen": "ox",
    "people": "person",
    "potatoes": "potato",
    "scarves": "scarf",
    "sheep": "sheep",
    "shelves": "shelf",
    "shoes": "shoe",
    "teeth": "tooth",
    "tomatoes": "tomato",
    "wolves": "wolf",
    "women": "woman",
}
_PLURALS = {singular: plural for plural, singular in _IRREGULAR.items()}

# `{}` is a name; `{a}` a name with its article.
THING_TEMPLATES = ("{}", "{a}", "the {}", "a photo of {a}", "this is {a}", "there is {a} here", "the {} in the picture")
STUFF_TEMPLATES = ("{}", "the {}", "a photo of {}", "{} in the picture", "the area of {}", "where the {} is")
PLURAL_TEMPLATES = ("{}", "the {}", "all {}", "all the {}", "a photo of {}", "several {}", "every {one}")


def normalize_phrase(phrase: str) -> str:
    """Bring a name or phrase to one spelling: lower case, single spaces, no underscores, no punctuation at its ends.

    Unicode's ways to write the same are one: full-width letters, ligatures, combining accents, all kinds of hyphens and
    apostrophes, invisible characters. Hyphens stay; see `reading.PhraseReader` for those.

    Example:
        >>> normalize_phrase(" Traffic_Light. "), normalize_phrase("the cat\N{RIGHT SINGLE QUOTATION MARK}s ear")
        ('traffic light', "the cat's ear")
    """
    if not phrase.isascii():
        phrase = _unify(phrase)
    return _EDGES.sub("", " ".join(phrase.replace("_", " ").lower().split()))


def _unify(text: str) -> str:
    """Write a text in Unicode's compatibility form, without invisible characters, with ASCII hyphens and quotes."""
    shown = (character for character in text if unicodedata.category(character) != "Cf")
    text = unicodedata.normalize("NFKC", "".join(shown)).translate(_ASCII)
    # Lower case may be decomposed, as that of a dotted capital I is.
    return unicodedata.normalize("NFKC", text.lower())


def singular(name: str) -> str:
    """Put the last word of a name in the singular, unless it has none.

    Example:
        >>> singular("wine glasses"), singular("scissors")
        ('wine glass', 'scissors')
    """
    *first, last = name.split(" ")
    if name in PLURAL_ONLY or (last in PLURAL_ONLY and last != "glasses"):
        return name
    return " ".join((*first, _singular_word(last)))


def plural(name: str) -> str:
    """Put the last word of a singular name in the plural.

    Example:
        >>> plural("wine glass"), plural("person"), plural("scissors")
        ('wine glasses', 'people', 'scissors')
    """
    *first, last = name.split(" ")
    if last in PLURAL_ONLY or singular(last) != last:
        return name
    if last in _PLURALS:
        last = _PLURALS[last]
    elif re.search(r"[^aeiou]y$", last):
        last = last[:-1] + "ies"
    else:
        last += "es" if re.search(r"(s|x|z|ch|sh)$", last) else "s"
    return " ".join((*first, last))


@lru_cache(maxsize=2**16)  # users may ask for any phrase
def canonical(name: str) -> str:
    """Map a name to the one of its synonyms that stands for all of them, in the singular.

    Example:
        >>> canonical("mobile phones"), canonical("Sofa"), canonical("moniter tv")
        ('cell phone', 'couch', 'tv')
    """
    name = normalize_phrase(name)
    name = SPELLINGS.get(name, name)
    for form in (name, singular(name)):
        if form in _HEADS:
            return _HEADS[form]
    return singular(name)


def synonyms(name: str) -> tuple[str, ...]:
    """List the other names for exactly the same; empty where the table has none.

    Example:
        >>> synonyms("sofa")
        ('couch', 'settee')
    """
    name = normalize_phrase(name)
    return tuple(other for other in _GROUPS.get(canonical(name), ()) if other != name)


def wordings(name: str, *, num_instances: int = 1) -> tuple[str, ...]:
    """List a name first, then its synonyms, and the plurals of all where there are several objects."""
    names = (normalize_phrase(name), *synonyms(name))
    plurals = tuple(plural(singular(one)) for one in names) if num_instances > 1 else ()
    return tuple(dict.fromkeys(names + plurals))


def with_article(name: str) -> str:
    """Put "a" or "an" before a name, and nothing before a plural.

    Example:
        >>> with_article("orange"), with_article("scissors")
        ('an orange', 'scissors')
    """
    last = name.split(" ")[-1]
    if last in PLURAL_ONLY or singular(last) != last:
        return name
    return f"{'an' if name[:1] in 'aeio' or name.startswith('um') else 'a'} {name}"


def without_article(phrase: str) -> str:
    """Take the article off a normalized phrase.

    Example:
        >>> without_article("all the cats"), without_article("theatre")
        ('cats', 'theatre')
    """
    return _ARTICLE.sub("", phrase)


def fill(template: str, name: str) -> str:
    """Put a name into one of the templates of this module.

    Example:
        >>> fill("a photo of {a}", "apple")
        'a photo of an apple'
    """
    return template.replace("{a}", with_article(name)).replace("{one}", singular(name)).replace("{}", name)


@cache
def may_name_same(a: str, b: str) -> bool:
    """Whether an object called `a` may as well be called `b`: a synonym, a hyponym, or a matter of taste.

    Example:
        >>> may_name_same("cab", "vehicle"), may_name_same("pizza", "food"), may_name_same("cat", "dog")
        (True, True, False)
    """
    first, second = canonical(a), canonical(b)
    pair = frozenset((first, second))
    if pair in UNRELATED:
        return False
    kin = first == second or first in broader(second) or second in broader(first)
    return kin or pair in _INTERCHANGEABLE or _says_more(first, second) or _says_more(second, first)


@cache
def related(a: str, b: str) -> bool:
    """Whether `a` may name the same as `b`, or a part of it, or have it as a part: one pixel may well be both.

    Example:
        >>> related("hood", "car"), related("man", "hair"), related("cat", "dog")
        (True, True, False)
    """
    first, second = canonical(a), canonical(b)
    return may_name_same(a, b) or _is_part(first, second) or _is_part(second, first)


@lru_cache(maxsize=2**16)
def broader(name: str) -> frozenset[str]:
    """List all hypernyms of a name in the taxonomy.

    Example:
        >>> sorted(broader("taxi"))
        ['car', 'motor vehicle', 'vehicle']
    """
    found: set[str] = set()
    waiting = [canonical(name)]
    while waiting:
        above = _BROADER.get(waiting.pop(), frozenset()) - found
        found |= above
        waiting.extend(above)
    return frozenset(found)


def find_missing(complete: Iterable[str], present: Collection[str]) -> frozenset[str]:
    """Find the completely annotated names, canonical, that nothing in an image may be called."""
    return frozenset(canonical(name) for name in complete if not any(may_name_same(name, there) for there in present))


def is_ruled_out(name: str, missing: frozenset[str], present: Iterable[str]) -> bool:
    """Whether a name is known not to be in an image: it is missing, or a kind of what is missing.

    Args:
        name: In any spelling.
        missing: From `find_missing`.
        present: What is said to be there; what is related to it may be there too, unless people looked for it.
    """
    if canonical(name) in missing:
        return True
    return bool(broader(name) & missing) and not any(related(name, there) for there in present)


def mentions(text: str, name: str) -> bool:
    """Whether a text says a name or one of its synonyms, in the singular or the plural."""
    words = _spaced_words(text)
    return any(f" {form} " in words for form in _forms(name))


@lru_cache(maxsize=4096)  # a caption is asked for hundreds of names in a row
def _spaced_words(text: str) -> str:
    return f" {' '.join(re.findall(_WORD, text.lower()))} "


@cache
def _forms(name: str) -> frozenset[str]:
    names = (normalize_phrase(name), canonical(name), *synonyms(name))
    return frozenset(form for one in names for form in (one, singular(one), plural(singular(one))))


def _singular_word(word: str) -> str:
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    if len(word) < 4 or not word.endswith("s") or word.endswith(("ss", "us", "is")):
        return word
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    return word[:-2] if word.endswith(("sses", "shes", "ches", "xes")) else word[:-1]


def _is_part(part: str, whole: str) -> bool:
    parts = {part, *broader(part)}
    return any(parts & _PARTS.get(name, frozenset()) for name in (whole, *broader(whole)))


def _says_more(longer: str, shorter: str) -> bool:
    """Whether one name is the other and more words: "dining table" and "table", "plate of food" and "food"."""
    words = {singular(word) for word in longer.split(" ")}
    return len(words) > 1 and words >= {singular(word) for word in shorter.split(" ")}


def _head_names() -> Iterator[tuple[str, str]]:
    for group in SYNONYMS:
        head = singular(group[0])
        for name in group:
            yield name, head
            yield singular(name), head


_HEADS: dict[str, str] = dict(_head_names())
_GROUPS: dict[str, tuple[str, ...]] = {singular(group[0]): group for group in SYNONYMS}


def _upward(table: dict[str, tuple[str, ...]]) -> dict[str, frozenset[str]]:
    above: dict[str, set[str]] = {}
    for broad, narrow in table.items():
        for name in narrow:
            above.setdefault(canonical(name), set()).add(canonical(broad))
    return {name: frozenset(names) for name, names in above.items()}


_BROADER = _upward(NARROWER)
_PARTS = {canonical(whole): frozenset(canonical(part) for part in parts) for whole, parts in PARTS.items()}
_INTERCHANGEABLE = frozenset(
    frozenset((canonical(a), canonical(b))) for group in INTERCHANGEABLE for a in group for b in group if a != b
)
