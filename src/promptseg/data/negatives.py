"""Names that are not in an image: which are known not to be, and which of those are worth asking.

A name that is missing from an annotation is absent only where the annotation says that it is complete for that name;
elsewhere it is unknown, and never used.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from promptseg.data.sample import Sample
from promptseg.errors import DataError
from promptseg.language.phrases import canonical, find_missing, is_ruled_out, mentions

# How sharply text similarity prefers near names: the nearest (cosine 1) weighs e^4 times as much as an unlike one.
SIMILARITY_SHARPNESS = 4.0
# What a name weighs that was never seen together with what is in the image.
UNSEEN_COOCCURRENCE = 0.01


def absent_names(sample: Sample, vocabulary: Iterable[str]) -> tuple[str, ...]:
    """Choose the names of a vocabulary that are known not to be in an image.

    A name is, if it is annotated completely and not there, or is a kind of such a name ("taxi" where there is no car).
    Left out are names that may also be said of something in the image, and those that a caption mentions.

    Args:
        sample: With its complete names in `exhaustive`.
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
    """Every name and wording said to be in an image; referring phrases are not names."""
    return frozenset(
        name for target in sample.targets if target.kind != "phrase" for name in (target.phrase, *target.alternatives)
    )


@dataclass(frozen=True)
class Cooccurrence:
    """How often names go together.

    Attributes:
        pairs: For each name, the number of images in which each other name is there too.
        singles: For each name, the number of images in which it is.
    """

    pairs: Mapping[str, Mapping[str, int]]
    singles: Mapping[str, int]

    def weigh(self, names: Sequence[str], present: Iterable[str]) -> NDArray[np.float64]:
        """Weigh names, shape (N,), by how often they go with what is there: the mean of P(name | present)."""
        there = [name for name in {canonical(name) for name in present} if self.singles.get(name)]
        weights = np.full(len(names), UNSEEN_COOCCURRENCE)
        for index, name in enumerate(map(canonical, names)):
            shares = [self.pairs[one].get(name, 0) / self.singles[one] for one in there]
            weights[index] += sum(shares) / max(len(shares), 1)
        return weights


def count_cooccurrence(samples: Iterable[Sample]) -> Cooccurrence:
    """Count which names are in the same images."""
    pairs: dict[str, Counter[str]] = defaultdict(Counter)
    singles: Counter[str] = Counter()
    for sample in samples:
        names = {canonical(target.phrase) for target in sample.targets if target.kind != "phrase"}
        singles.update(names)
        for name in names:
            pairs[name].update(names - {name})
    return Cooccurrence(dict(pairs), dict(singles))


@dataclass(frozen=True)
class TextSimilarity:
    """How near names are in a text tower.

    Attributes:
        names: The vocabulary.
        cosines: Shape (V, V), in [-1, 1].
    """

    names: tuple[str, ...]
    cosines: NDArray[np.floating]

    def __post_init__(self) -> None:
        if self.cosines.shape != (len(self.names), len(self.names)):
            raise DataError(f"similarity of {len(self.names)} names has shape {self.cosines.shape}, expected (V, V)")

    def weigh(self, names: Sequence[str], present: Iterable[str]) -> NDArray[np.float64]:
        """Weigh names, shape (N,), by how near the nearest name that is there comes; 1 for names outside the table."""
        rows = {name: index for index, name in enumerate(self.names)}
        there = [rows[name] for name in present if name in rows]
        known = [index for index, name in enumerate(names) if name in rows]
        weights = np.ones(len(names))
        if there and known:
            cosines = self.cosines[np.ix_([rows[names[index]] for index in known], there)].max(axis=1)
            weights[known] = np.exp(SIMILARITY_SHARPNESS * cosines)
        return weights


@dataclass(frozen=True)
class NegativeSampler:
    """Draws absent names: some that often go with what is there, some that read alike, some at random.

    Attributes:
        vocabulary: Names to draw from.
        cooccurrence: Counted on training images.
        similarity: `None` draws its share at random.
        shares: Of co-occurrence, of similarity, and of chance; they sum to 1.
    """

    vocabulary: tuple[str, ...]
    cooccurrence: Cooccurrence
    similarity: TextSimilarity | None = None
    shares: tuple[float, float, float] = (0.4, 0.3, 0.3)

    def draw(self, sample: Sample, count: int, rng: np.random.Generator) -> tuple[str, ...]:
        """Draw at most `count` different names that are known to be absent; fewer, even none, where fewer are known."""
        names = absent_names(sample, self.vocabulary)
        if not names:
            return ()
        present = present_names(sample)
        even = np.ones(len(names))
        by_text = self.similarity.weigh(names, present) if self.similarity else even
        kinds = (self.cooccurrence.weigh(names, present), by_text, even)
        weights = sum(share * kind / kind.sum() for share, kind in zip(self.shares, kinds, strict=True))
        return draw_names(names, np.asarray(weights), count, rng)


def draw_names(
    names: Sequence[str], weights: NDArray[np.float64], count: int, rng: np.random.Generator
) -> tuple[str, ...]:
    """Draw different names, each with a chance that grows with its weight, shape (N,), positive."""
    count = min(count, len(names))
    drawn = rng.choice(len(names), size=count, replace=False, p=weights / weights.sum())
    return tuple(names[index] for index in drawn)
