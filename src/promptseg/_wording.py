"""Words of messages that depend on numbers and values."""

import json


def counted(number: int, noun: str = "image") -> str:
    """Write a number of things; the noun is one whose plural ends in s.

    Example:
        >>> counted(1), counted(1200, "phrase")
        ('1 image', '1,200 phrases')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def shorten(value: object) -> str:
    """Write a value as JSON of 80 characters at most."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else text[:79] + "…"
