"""Episodes of few-shot benchmarks and visual prompts.

Exemplar    an image and the mask of the object that it shows
Episode     a query image with exactly one phrase, and the exemplars of that phrase
EpisodeSet  the episodes of one data set, their classes, and everything that was left out
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import overload

from promptseg.data.sample import Problem, Sample
from promptseg.ops.rle import Rle


@dataclass(frozen=True)
class Exemplar:
    """An image and the mask of the object that it shows.

    Attributes:
        sample_id: Name of the image.
        image: The image file, or its encoded bytes.
        mask: Union of all instances, of the image's size and never empty.
    """

    sample_id: str
    image: Path | bytes
    mask: Rle


@dataclass(frozen=True)
class Episode:
    """A query image with exactly one phrase, and the exemplars of that phrase.

    Attributes:
        query: The image, with one target and no absent phrase, or no target and one absent phrase. The target's
            `phrase` is the prompt, `category` the class in the spelling of the data set, and `void` is ignored.
        support: One exemplar per shot, from different images other than the query. Empty if the data set has no other
            image with this phrase.
        class_id: Number of the class in its benchmark, from 0; -1 for open phrases, which have no number.
    """

    query: Sample
    support: tuple[Exemplar, ...]
    class_id: int = -1

    @property
    def phrase(self) -> str:
        """Return the phrase of the query."""
        return self.query.targets[0].phrase if self.query.targets else self.query.absent[0]


@dataclass(frozen=True)
class EpisodeSet(Sequence[Episode]):
    """The episodes of one data set.

    Attributes:
        episodes: The episodes, in an order that depends on the seed.
        class_names: The classes that the episodes are drawn from, by class_id, in the spelling of the data set; also
            classes without an episode.
        problems: Everything that was left out, and why.
    """

    episodes: tuple[Episode, ...]
    class_names: Mapping[int, str] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()

    @overload
    def __getitem__(self, index: int) -> Episode: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Episode]: ...
    def __getitem__(self, index: int | slice) -> Episode | Sequence[Episode]:
        return self.episodes[index]

    def __len__(self) -> int:
        return len(self.episodes)

    def __iter__(self) -> Iterator[Episode]:
        return iter(self.episodes)
