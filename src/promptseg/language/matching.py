"""Which of a detector's names a phrase means; `reading.PhraseReader` reads more than that, once."""

from collections.abc import Sequence

from promptseg.language.reading import PhraseReader


def match_names(phrase: str, names: Sequence[str]) -> list[int]:
    """Find the names that an object of the phrase may go by: the same name, a hypernym, or hyponyms.

    Args:
        phrase: In any spelling. Adjectives may stand before the name and "of ..." behind it; "" means any object.
        names: Of the detector.

    Returns:
        Indexes into `names`; none where the phrase names something else.

    Example:
        >>> match_names("old woman", ("person", "car")), match_names("cup of tea", ("person", "cup"))
        ([0], [1])
    """
    return list(PhraseReader(tuple(names)).read(phrase).any_classes)
