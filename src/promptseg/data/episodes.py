"""One question asked with images: what few-shot benchmarks and visual prompts are made of.

Exemplar    an image that shows what is meant, and where in it
Episode     an image asked for exactly one phrase, and the exemplars that stand for that phrase
EpisodeSet  the episodes of one reading, their classes, and everything that was left out
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import overload

from promptseg.data.sample import Problem, Sample
from promptseg.ops.rle import Rle


@dataclass(frozen=True)
class Exemplar:
    """An image that shows what is meant.

    Attributes:
        sample_id: Of the image it comes from.
        image: The image file, or its encoded bytes.
        mask: Where in the image, all instances together; its size is the image's, and it is never empty.
    """

    sample_id: str
    image: Path | bytes
    mask: Rle


@dataclass(frozen=True)
class Episode:
    """An image asked for exactly one phrase, and the exemplars that stand for that phrase.

    Attributes:
        query: Has one target and nothing absent, or no target and one absent phrase. Of the target, `phrase` is what
            to say, `category` the class as the data set spells it, and `void` what is neither right nor wrong.
        support: One exemplar per shot, of other images than the query; no two are the same image. Empty where the
            data set has no other image with this phrase.
        class_id: The class's number in its benchmark, from 0; -1 where phrases are open and have no number.
    """

    query: Sample
    support: tuple[Exemplar, ...]
    class_id: int = -1

    @property
    def phrase(self) -> str:
        """What is asked."""
        return self.query.targets[0].phrase if self.query.targets else self.query.absent[0]


@dataclass(frozen=True)
class EpisodeSet(Sequence[Episode]):
    """The episodes of one reading.

    Attributes:
        episodes: In an order that the seed decides.
        class_names: The classes that the episodes are drawn from, by class_id, as the data set spells them; also those
            that no episode happens to ask.
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
