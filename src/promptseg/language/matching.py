"""Which of a detector's names a phrase means."""

from collections.abc import Sequence

from promptseg.language.phrases import broader, canonical, normalize_phrase, without_article


def match_names(phrase: str, names: Sequence[str]) -> list[int]:
    """Find the names that what a phrase is called goes by: the same name, a broader one, or kinds of it.

    The phrase may have adjectives before the name and "of ..." behind it; "" means any thing.

    Returns:
        Indexes into `names`; none where the phrase names something else.

    Example:
        >>> match_names("old woman", ("person", "car")), match_names("cup of tea", ("person", "cup"))
        ([0], [1])
    """
    words = normalize_phrase(phrase).split(" of ")[0].split(" ")
    if words == [""]:
        return list(range(len(names)))
    for start in range(len(words)):
        asked = canonical(" ".join(words[start:]))
        same = [index for index, name in enumerate(names) if canonical(name) == asked]
        above = same or [index for index, name in enumerate(names) if canonical(name) in broader(asked)]
        if found := above or [index for index, name in enumerate(names) if asked in broader(name)]:
            return found
    return []


def same_names(phrase: str, names: Sequence[str]) -> list[int]:
    """Find the names that say the same as a phrase; indexes into `names`.

    Example:
        >>> same_names("the sofas", ("couch", "bus")), same_names("furniture", ("couch",))
        ([0], [])
    """
    asked = canonical(without_article(normalize_phrase(phrase)))
    return [index for index, name in enumerate(names) if canonical(name) == asked]


def sure_names(phrase: str, names: Sequence[str]) -> list[int]:
    """Find the names of which everything is what the phrase says: the same name, or kinds of it.

    "red car" and "taxi" are cars, but not every car is one.

    Returns:
        Indexes into `names`.

    Example:
        >>> sure_names("the cars", ("car", "bus")), sure_names("vehicle", ("car", "cup")), sure_names("taxi", ("car",))
        ([0], [0], [])
    """
    asked = canonical(without_article(normalize_phrase(phrase)))
    return same_names(phrase, names) or [index for index, name in enumerate(names) if asked in broader(name)]
