"""The names that pixels are compared with in training, and which of them may hold at the same pixel."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from promptseg.data.sample import Sample
from promptseg.language.phrases import normalize_phrase
from promptseg.language.phrases import related as related_by_table


@dataclass(frozen=True)
class Vocabulary:
    """Names, each with an index.

    Attributes:
        names: Normalized, sorted, each once.
    """

    names: tuple[str, ...]

    @cached_property
    def index(self) -> dict[str, int]:
        """Index of each name in `names`."""
        return {name: i for i, name in enumerate(self.names)}

    def find(self, names: Iterable[str]) -> list[int]:
        """Return the indexes of those names that are in the vocabulary."""
        return [self.index[name] for name in map(normalize_phrase, names) if name in self.index]

    def may_coincide(self, name_index: int) -> NDArray[np.bool_]:
        """Return which names, shape (V,), may hold where the given one does, so that it is no evidence against them.

        These are names that the taxonomy relates (kinds, parts), names with the same last word ("sports car", "toy
        car"), and names of which one has all the words of the other.
        """
        if name_index not in self._rows:
            name = self.names[name_index]
            words, head = frozenset(name.split()), name.split()[-1]
            self._rows[name_index] = np.array(
                [
                    head == heads or words <= others or others <= words or related_by_table(name, other)
                    for other, others, heads in zip(self.names, self._words, self._heads, strict=True)
                ]
            )
        return self._rows[name_index]

    @cached_property
    def _rows(self) -> dict[int, NDArray[np.bool_]]:
        return {}

    @cached_property
    def _words(self) -> list[frozenset[str]]:
        return [frozenset(name.split()) for name in self.names]

    @cached_property
    def _heads(self) -> list[str]:
        return [name.split()[-1] for name in self.names]


def collect_vocabulary(samples: Iterable[Sample], extra: Sequence[str] = ()) -> Vocabulary:
    """Collect every name in the annotation of the images; referring phrases are not names."""
    names = {normalize_phrase(name) for name in extra}
    for sample in samples:
        for target in sample.targets:
            if target.kind != "phrase":
                names.update(normalize_phrase(name) for name in (target.phrase, *target.alternatives))
    return Vocabulary(tuple(sorted(name for name in names if name)))


def shown_names(samples: Iterable[Sample]) -> tuple[str, ...]:
    """Collect the names that have a mask or belong to the only object of an image: normalized, sorted, each once."""
    shown = (
        target
        for sample in samples
        for target in sample.targets
        if target.kind != "phrase" and (target.masks or sample.single_object)
    )
    return tuple(
        sorted({normalize_phrase(name) for target in shown for name in (target.phrase, *target.alternatives)} - {""})
    )
