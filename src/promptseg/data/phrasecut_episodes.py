"""One-shot episodes of PhraseCut: the exemplar of a phrase is another image with the same phrase.

Source:
    Lueddecke and Ecker 2022, arXiv:2112.10003, section 3.3; timojl/clipseg @ 77c4e2d, datasets/phrasecut.py (MIT).
    Differs: an exemplar is never the query image itself, and all choices depend on a seed.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from promptseg.data.episodes import Episode, EpisodeSet, Exemplar
from promptseg.data.sample import Problem, Sample, Target, union_rle

Item = TypeVar("Item")


@dataclass(frozen=True)
class ImagePhrase:
    """One phrase with a mask in one image."""

    sample: Sample
    target: Target

    def query(self) -> Sample:
        """Return the image with this phrase as its only target."""
        return replace(self.sample, targets=(self.target,), absent=(), exhaustive=frozenset())


def phrasecut_episodes(samples: Sequence[Sample], *, seed: int = 0) -> EpisodeSet:
    """Pair every (image, phrase) with an exemplar from another image that has the same phrase.

    Args:
        samples: Result of `read_phrasecut`, or other samples whose targets have masks.
        seed: Seed of the choice of exemplars.

    Returns:
        One-shot episodes in the order of the samples, and one problem that counts the phrases without another image.
    """
    image_phrases = list_image_phrases(samples)
    by_phrase = group_by_phrase(image_phrases)
    episodes = []
    for index, one in enumerate(image_phrases):
        rng = np.random.default_rng([seed, index])
        if exemplar := draw_exemplar(by_phrase[one.target.phrase], one.sample, rng):
            episodes.append(Episode(one.query(), (exemplar,)))
    num_alone = len(image_phrases) - len(episodes)
    text = f"{num_alone} of {len(image_phrases)} phrases are in no other image, so that no exemplar exists"
    return EpisodeSet(tuple(episodes), problems=(Problem("exemplars", text),) if num_alone else ())


def list_image_phrases(samples: Sequence[Sample]) -> list[ImagePhrase]:
    """List every phrase with a mask, in the order of the samples."""
    return [ImagePhrase(sample, target) for sample in samples for target in sample.with_evidence("mask")]


def group_by_phrase(image_phrases: Sequence[ImagePhrase]) -> Mapping[str, Sequence[ImagePhrase]]:
    """Group image phrases by phrase, in order."""
    groups: dict[str, list[ImagePhrase]] = {}
    for one in image_phrases:
        groups.setdefault(one.target.phrase, []).append(one)
    return groups


def draw_exemplar(candidates: Sequence[ImagePhrase], query: Sample, rng: np.random.Generator) -> Exemplar | None:
    """Draw an exemplar from images other than the query; None if there is no other image."""
    for one in rotate_randomly(candidates, rng):
        if one.sample.sample_id != query.sample_id:
            return Exemplar(one.sample.sample_id, one.sample.image, union_rle(one.target.masks))
    return None


def rotate_randomly(items: Sequence[Item], rng: np.random.Generator) -> Iterator[Item]:
    """Yield all items, starting at a random one, for a draw that takes the first suitable item."""
    start = int(rng.integers(len(items)))
    for step in range(len(items)):
        yield items[(start + step) % len(items)]
