"""Absent names of an image: which names are known to be absent, and which of these to draw.

A name that is missing from an annotation is absent only if the annotation is complete for that name; otherwise it is
unknown, and never drawn.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from promptseg.data.sample import Sample
from promptseg.language.phrases import canonical, find_missing, is_ruled_out, mentions

UNSEEN_COOCCURRENCE = 0.01  # weight of a name that never occurs together with the names of the image


def absent_names(sample: Sample, vocabulary: Iterable[str]) -> tuple[str, ...]:
    """Return the names of a vocabulary that are known to be absent from an image.

    These are names that are annotated completely and not present, and hyponyms of them ("taxi" if there is no car).
    Names that may also describe something in the image are left out, as are names that a caption mentions.

    Args:
        sample: An image with its complete names in `exhaustive`.
        vocabulary: Names to choose from, in any spelling.
    """
    present = present_names(sample)
    missing = find_missing(sample.exhaustive, present)
    return tuple(
        name
        for name in vocabulary
        if is_ruled_out(name, missing, present) and not any(mentions(caption, name) for caption in sample.captions)
    )


def present_names(sample: Sample) -> frozenset[str]:
    """Return every annotated name of an image, with its alternatives; referring phrases are not names."""
    return frozenset(
        name for target in sample.targets if target.kind != "phrase" for name in (target.phrase, *target.alternatives)
    )


@dataclass(frozen=True)
class Cooccurrence:
    """How often names occur together.

    Attributes:
        pairs: For each name, the number of images that also show each other name.
        singles: For each name, the number of images that show it.
    """

    pairs: Mapping[str, Mapping[str, int]]
    singles: Mapping[str, int]

    def weigh(self, names: Sequence[str], present: Iterable[str]) -> NDArray[np.float64]:
        """Weigh names, shape (N,), by how often they occur with the present ones: the mean of P(name | present)."""
        there = [name for name in {canonical(name) for name in present} if self.singles.get(name)]
        weights = np.full(len(names), UNSEEN_COOCCURRENCE)
        for index, name in enumerate(map(canonical, names)):
            shares = [self.pairs[one].get(name, 0) / self.singles[one] for one in there]
            weights[index] += sum(shares) / max(len(shares), 1)
        return weights


def count_cooccurrence(samples: Iterable[Sample]) -> Cooccurrence:
    """Count which names occur in the same images."""
    pairs: dict[str, Counter[str]] = defaultdict(Counter)
    singles: Counter[str] = Counter()
    for sample in samples:
        names = {canonical(target.phrase) for target in sample.targets if target.kind != "phrase"}
        singles.update(names)
        for name in names:
            pairs[name].update(names - {name})
    return Cooccurrence(dict(pairs), dict(singles))


@dataclass(frozen=True)
class NegativeSampler:
    """Draws absent names: some that often occur with the present ones, the others evenly.

    Attributes:
        vocabulary: Names to draw from.
        cooccurrence: Counts on training images.
        cooccurrence_share: Share of the draws that follow co-occurrence, in [0, 1].
    """

    vocabulary: tuple[str, ...]
    cooccurrence: Cooccurrence
    cooccurrence_share: float = 0.4

    def draw(self, sample: Sample, count: int, rng: np.random.Generator) -> tuple[str, ...]:
        """Draw `count` different names that are known to be absent; fewer, even none, if fewer are known."""
        names = absent_names(sample, self.vocabulary)
        if not names:
            return ()
        cooccurrence = self.cooccurrence.weigh(names, present_names(sample))
        weights = self.cooccurrence_share * cooccurrence / cooccurrence.sum()
        weights += (1.0 - self.cooccurrence_share) / len(names)
        return draw_names(names, weights, count, rng)


def draw_names(
    names: Sequence[str], weights: NDArray[np.float64], count: int, rng: np.random.Generator
) -> tuple[str, ...]:
    """Draw different names, with probabilities in proportion to their weights, shape (N,), positive."""
    count = min(count, len(names))
    drawn = rng.choice(len(names), size=count, replace=False, p=weights / weights.sum())
    return tuple(names[index] for index in drawn)
