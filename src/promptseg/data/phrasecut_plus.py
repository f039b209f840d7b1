"""PhraseCut+: PhraseCut with negatives, exemplars, prompt templates and crops, as CLIPSeg is trained on it.

Source:
    Lueddecke and Ecker 2022, arXiv:2112.10003, section 3.3; timojl/clipseg @ 77c4e2d, datasets/phrasecut.py and
    models/clipseg.py (MIT). Differs: a foreign phrase is never one that an annotated phrase of the image implies
    (theirs only differs from the phrase that it replaces), an exemplar is never the query's own image, and
    everything follows from a seed.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from promptseg.data.crops import CropBox, object_crop
from promptseg.data.episodes import Episode, EpisodeSet, Exemplar
from promptseg.data.sample import Problem, Sample, Target, union_mask, union_rle
from promptseg.errors import DataError

PROMPT_TEMPLATES = (
    "a photo of a {}.", "a photograph of a {}.", "an image of a {}.", "{}.", "a cropped photo of a {}.",
    "a good photo of a {}.", "a photo of one {}.", "a bad photo of a {}.", "a photo of the {}.",
)  # fmt: skip

NEGATIVE_SHARE = 0.2

Item = TypeVar("Item")


@dataclass(frozen=True)
class PlusExample:
    """One training example.

    Attributes:
        episode: The query has one target, or one absent phrase: then its mask is empty. One exemplar of that phrase, or
            none where no other image has it.
        text: The phrase in one of `PROMPT_TEMPLATES`.
        crop_xyxy: The part of the query's image to look at, in whole pixels.
        support_crop_xyxy: The same for the exemplar's image; `None` without one.
    """

    episode: Episode
    text: str
    crop_xyxy: CropBox
    support_crop_xyxy: CropBox | None


@dataclass(frozen=True)
class _Place:
    """One phrase in one image."""

    sample: Sample
    target: Target


@dataclass(frozen=True)
class PlusOptions:
    """What becomes of an annotated question before a model is trained on it; the defaults are PhraseCut+.

    Attributes:
        negative_share: How often the phrase is replaced by one that the image does not have, in [0, 1].
        exemplars: Whether an exemplar of the phrase is drawn.
        templates: The phrase is said in one of these.
        crops: Whether a square that shows the object is looked at, or the whole image.
    """

    negative_share: float = NEGATIVE_SHARE
    exemplars: bool = True
    templates: tuple[str, ...] = PROMPT_TEMPLATES
    crops: bool = True


class PlusQuestions:
    """Every (image, phrase) as a question that can be drawn again and again, each time another example.

    Args:
        samples: From `read_phrasecut`, or any others whose targets have masks.
        options: What is done to them.

    Raises:
        DataError: Nothing has a mask.
    """

    def __init__(self, samples: Sequence[Sample], options: PlusOptions = PlusOptions()) -> None:
        self.options = options
        self._questions = _places(samples)
        if not self._questions:
            raise DataError(f"none of {len(samples)} images has a phrase with a mask")
        self._by_phrase = _group_by_phrase(self._questions)
        self._phrases = tuple(self._by_phrase)

    def __len__(self) -> int:
        return len(self._questions)

    def draw(self, index: int, rng: np.random.Generator) -> PlusExample:
        """Make an example of a question; every choice comes from `rng`.

        Raises:
            DataError: An image has all the phrases there are, so that none can be drawn as foreign.
        """
        options = self.options
        query, target = self._questions[index].sample, self._questions[index].target
        height, width = query.size_hw
        crop_xyxy: CropBox = (0, 0, width, height)
        if options.crops:
            crop_xyxy = object_crop(union_mask(target.masks, query.size_hw), rng)
        if rng.random() < options.negative_share:
            phrase = _foreign_phrase(query, self._phrases, rng)
            asked = replace(query, targets=(), absent=(phrase,), exhaustive=frozenset())
        else:
            phrase = target.phrase
            asked = _ask(query, target)
        exemplar = _draw_exemplar(self._by_phrase[phrase], query, rng) if options.exemplars else None
        return PlusExample(
            episode=Episode(asked, (exemplar,) if exemplar else ()),
            text=options.templates[rng.integers(len(options.templates))].replace("{}", phrase),
            crop_xyxy=crop_xyxy,
            support_crop_xyxy=_crop_exemplar(exemplar, rng) if exemplar else None,
        )


def phrasecut_plus(
    samples: Sequence[Sample], *, seed: int = 0, epoch: int = 0, negative_share: float = NEGATIVE_SHARE
) -> Iterator[PlusExample]:
    """Yield every (image, phrase) once, in random order, as a training example.

    Args:
        samples: As `PlusQuestions` takes them.
        seed: With `epoch` it decides everything.
        epoch: Another one, another order and other draws.
        negative_share: See `PlusOptions`.

    Raises:
        DataError: As `PlusQuestions` and its `draw`.
    """
    questions = PlusQuestions(samples, PlusOptions(negative_share=negative_share))
    for index in np.random.default_rng([seed, epoch]).permutation(len(questions)).tolist():
        # A generator of its own for each example: whatever one draws, the others draw the same.
        yield questions.draw(index, np.random.default_rng([seed, epoch, index]))


def phrasecut_episodes(samples: Sequence[Sample], *, seed: int = 0) -> EpisodeSet:
    """Ask every (image, phrase) with an exemplar from another image with the same phrase.

    Args:
        samples: From `read_phrasecut`, or any others whose targets have masks.
        seed: Of the choice of exemplars.

    Returns:
        One-shot episodes in the order of the samples; its problem counts the phrases that no other image has.
    """
    questions = _places(samples)
    by_phrase = _group_by_phrase(questions)
    episodes = []
    for index, question in enumerate(questions):
        rng = np.random.default_rng([seed, index])
        if exemplar := _draw_exemplar(by_phrase[question.target.phrase], question.sample, rng):
            episodes.append(Episode(_ask(question.sample, question.target), (exemplar,)))
    num_alone = len(questions) - len(episodes)
    what = f"{num_alone} of {len(questions)} phrases are in no other image, so that nothing can show them"
    return EpisodeSet(tuple(episodes), problems=(Problem("exemplars", what),) if num_alone else ())


def _places(samples: Sequence[Sample]) -> list[_Place]:
    return [_Place(sample, target) for sample in samples for target in sample.with_evidence("mask")]


def _group_by_phrase(places: Sequence[_Place]) -> dict[str, list[_Place]]:
    groups: dict[str, list[_Place]] = {}
    for place in places:
        groups.setdefault(place.target.phrase, []).append(place)
    return groups


def _ask(sample: Sample, target: Target) -> Sample:
    return replace(sample, targets=(target,), absent=(), exhaustive=frozenset())


def _foreign_phrase(query: Sample, phrases: Sequence[str], rng: np.random.Generator) -> str:
    """Draw a phrase that nothing annotated in the image implies: "dog" is not foreign where a "black dog" is."""
    present = [set(target.phrase.split()) for target in query.targets]
    for phrase in _circle(phrases, rng):
        words = set(phrase.split())
        if not any(words <= there for there in present):
            return phrase
    raise DataError(f"{query.sample_id} has all {len(phrases)} phrases there are; none is foreign to it")


def _draw_exemplar(places: Sequence[_Place], query: Sample, rng: np.random.Generator) -> Exemplar | None:
    for place in _circle(places, rng):
        if place.sample.sample_id != query.sample_id:
            return Exemplar(place.sample.sample_id, place.sample.image, union_rle(place.target.masks))
    return None


def _circle(items: Sequence[Item], rng: np.random.Generator) -> Iterator[Item]:
    """All items from a random one on: a draw that goes on where the first one won't do."""
    start = int(rng.integers(len(items)))
    for step in range(len(items)):
        yield items[(start + step) % len(items)]


def _crop_exemplar(exemplar: Exemplar, rng: np.random.Generator) -> CropBox:
    height, width = exemplar.mask["size"]
    return object_crop(union_mask((exemplar.mask,), (height, width)), rng)
