"""Tell phrases in a script that no text encoder here knows: all of them were trained on English."""

import unicodedata


def find_foreign_script(phrase: str) -> str | None:
    """Name the script of a phrase most of whose letters are not Latin; None: it may be English.

    Example:
        >>> find_foreign_script("кошка"), find_foreign_script("café"), find_foreign_script("the Ω sign")
        ('Cyrillic', None, None)
    """
    scripts = [_script_of(letter) for letter in unicodedata.normalize("NFKC", phrase) if letter.isalpha()]
    foreign = [script for script in scripts if script != "Latin"]
    return max(foreign, key=foreign.count) if 2 * len(foreign) > len(scripts) else None


def _script_of(letter: str) -> str:
    """Name the script of a letter by the first word of its Unicode name."""
    first = unicodedata.name(letter, "UNKNOWN").split(" ")[0].split("-")[0]
    return first if first == "CJK" else first.title()
