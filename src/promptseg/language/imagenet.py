"""Find the classes of ImageNet that are kinds of a name, by a table.

Source:
    The 1,000 classes of ILSVRC 2012 (Russakovsky et al. 2015, arXiv:1409.0575) in the order of their WordNet numbers,
    and WordNet 3.1 (Princeton University), as lab/make_imagenet_names.py joins them: one line a name, and after a tab
    the indexes of the classes that are kinds of it.
"""

import gzip
from collections.abc import Mapping
from functools import cache
from importlib import resources

from promptseg.language.hypernyms import load_nouns, split_head
from promptseg.language.phrases import canonical, singular, synonyms

TABLE = "imagenet_names.txt.gz"
# The first classes are animals; the name of one keeps its meaning behind any other word.
NUM_ANIMALS = 398


def find_imagenet_classes(name: str) -> tuple[int, ...]:
    """Find the classes that are kinds of a name, ascending; empty where there is none.

    Args:
        name: In any spelling. Without classes of its own, the end of the name counts ("young tabby" is a tabby) unless
            another noun before it may change its meaning ("space suit" is no suit, but a "kennel dog" is a dog).

    Example:
        >>> find_imagenet_classes("zebras"), find_imagenet_classes("wild foxes"), find_imagenet_classes("space suit")
        ((340,), (277, 278, 279, 280), ())
    """
    names = load_imagenet_names()
    words = split_head(name)
    for start in range(len(words)):
        tail = " ".join(words[start:])
        for form in dict.fromkeys((tail, singular(tail), canonical(tail), *synonyms(tail))):
            if form in names:
                classes = names[form]
                keeps_meaning = classes[-1] < NUM_ANIMALS or not any(map(_is_noun, words[:start]))
                return classes if keeps_meaning else ()
        if any(form in load_nouns().meaning_of for form in (tail, singular(tail))):
            return ()  # it has a meaning, and no class is of its kind
    return ()


@cache
def load_imagenet_names() -> Mapping[str, tuple[int, ...]]:
    """Load the table, about 3,000 names; once a process."""
    packed = resources.files("promptseg.language").joinpath(TABLE).read_bytes()
    lines = (line.split("\t") for line in gzip.decompress(packed).decode().splitlines())
    return {name: tuple(map(int, classes.split(","))) for name, classes in lines}


def _is_noun(word: str) -> bool:
    return word in load_nouns().meaning_of
