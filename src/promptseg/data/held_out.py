"""What never enters training: the names and pictures that a claim about unseen ones rests on.

Names:    apple (fss_dev) and every breed of cat and dog (pets_dev). A breed becomes "cat" or "dog"; an apple is left out.
Pictures: a third of the coco_boxes pictures that have human regions, chosen by a hash of their COCO id, and every picture
          that is in, or looks the same as one in, an evaluation set.
"""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import replace

from promptseg.data.phrases import normalise
from promptseg.data.sample import Sample, Target

HELD_OUT_WORDS: tuple[str, ...] = ("apple", "apples")

# Kinds of apple whose names do not say so.
_APPLES = frozenset(("granny smith", "golden delicious", "red delicious", "pink lady", "royal gala"))

_DOG_BREEDS = frozenset(
    normalise(name)
    for name in (
        "Chihuahua", "Japanese Chin", "Maltese", "Pekingese", "Shih Tzu", "King Charles Spaniel", "Papillon", "toy terrier",
        "Rhodesian Ridgeback", "Afghan Hound", "Basset Hound", "Beagle", "Bloodhound", "Bluetick Coonhound",
    )
)  # fmt: skip
