"""Tell phrases that are hardly English: all text encoders here were trained on English."""

import re
import unicodedata

from promptseg.language.hypernyms import load_nouns
from promptseg.language.phrases import broader, canonical, normalize_phrase, singular

# Shorter words are abbreviations, or say little about the language.
_MIN_LETTERS = 3


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


def lacks_known_words(phrase: str) -> bool:
    """Whether no word of a phrase is an English noun that is known; without any word, it may be English.

    Example:
        >>> lacks_known_words("Katze"), lacks_known_words("gray cats"), lacks_known_words("7 up")
        (True, False, False)
    """
    words = [word for word in re.findall(r"[^\W\d_]+", normalize_phrase(phrase)) if len(word) >= _MIN_LETTERS]
    nouns = load_nouns().meanings_of
    return bool(words) and not any(
        form in nouns or broader(form) for word in words for form in (word, singular(word), canonical(word))
    )
