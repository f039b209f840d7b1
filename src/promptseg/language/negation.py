"""Phrases that say what is not meant, and phrases that mean no kind of object: the models find what is named."""

import re

# "not behind a tree" after a name is read as a condition; these are not.
_NEGATION = re.compile(
    r"^(?:not|never|neither|nor|without|no(?! \w+ (?:sign|symbol|zone)))\b"
    r"|\b(?:except(?: for)?|excluding|other than|apart from|aside from|anything but|everything but|all but)\b",
    re.IGNORECASE,
)
_EVERYTHING = re.compile(
    r"(?:everything|anything|all|(?:all|every|each|any)(?: the)? (?:objects?|things?))", re.IGNORECASE
)


def find_negation(phrase: str) -> str | None:
    """Find the word by which a phrase says what is not meant; None: there is none.

    Example:
        >>> find_negation("not a cat"), find_negation("all cats except the black one"), find_negation("no parking sign")
        ('not', 'except', None)
        >>> find_negation("the second car, not behind a tree")
    """
    found = _NEGATION.search(phrase.strip())
    return found[0].lower() if found else None


def means_everything(phrase: str) -> bool:
    """Whether a phrase asks for all objects, of whatever kind.

    Example:
        >>> means_everything("all objects"), means_everything("all cats")
        (True, False)
    """
    return _EVERYTHING.fullmatch(phrase.strip()) is not None
