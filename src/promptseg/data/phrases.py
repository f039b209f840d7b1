"""What a name may also be called."""

import re

_EDGES = re.compile(r"^[\s.,;:!?\"]+|[\s.,;:!?\"]+$")


def normalise(phrase: str) -> str:
    """Bring a name or phrase to one spelling: lower case, single spaces, no underscores, no punctuation at its ends.

    Example:
        >>> normalise(" Traffic_Light. ")
        'traffic light'
    """
    return _EDGES.sub("", " ".join(phrase.replace("_", " ").lower().split()))


def canonical(name: str) -> str:
    """The one name of all that say the same thing."""
    return normalise(name)
