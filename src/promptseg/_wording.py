"""Words of messages that depend on numbers."""


def counted(number: int, noun: str = "image") -> str:
    """Write a number of things; the noun is one whose plural ends in s.

    Example:
        >>> counted(1), counted(1200, "phrase")
        ('1 image', '1,200 phrases')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
