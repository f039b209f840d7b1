"""PhraseCut+: PhraseCut with negatives, exemplars, prompt templates and crops, as CLIPSeg is trained on it.

Source:
    Lueddecke and Ecker 2022, arXiv:2112.10003, section 3.3; timojl/clipseg @ 77c4e2d, datasets/phrasecut.py and
    models/clipseg.py (MIT). Differs: a foreign phrase is never one that an annotated phrase of the image implies
    (theirs only differs from the phrase that it replaces), an exemplar is never the query's own image, and
    everything follows from a seed.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from promptseg.data.episodes import Episode, Exemplar
from promptseg.data.phrasecut_episodes import draw_exemplar, group_by_phrase, list_image_phrases, rotate_randomly
from promptseg.data.sample import Sample, union_mask
from promptseg.errors import DataError
from promptseg.train.augment import CropBox, square_object_crop

PROMPT_TEMPLATES = (
    "a photo of a {}.", "a photograph of a {}.", "an image of a {}.", "{}.", "a cropped photo of a {}.",
    "a good photo of a {}.", "a photo of one {}.", "a bad photo of a {}.", "a photo of the {}.",
)  # fmt: skip

NEGATIVE_SHARE = 0.2


@dataclass(frozen=True)
class PlusExample:
    """One training example.

    Attributes:
        episode: The query has one target, or one absent phrase: then its mask is empty. One exemplar of that phrase, or
            none where no other image has it.
        text: The phrase in one of `PROMPT_TEMPLATES`.
        crop_xyxy: The part of the query's image that is used, in whole pixels.
        support_crop_xyxy: The same for the exemplar's image; None without one.
    """

    episode: Episode
    text: str
    crop_xyxy: CropBox
    support_crop_xyxy: CropBox | None


@dataclass(frozen=True)
class PlusOptions:
    """How an annotated phrase becomes a training example; the defaults are PhraseCut+.

    Attributes:
        negative_share: Share of the examples whose phrase is replaced by one that the image does not have, in [0, 1].
        exemplars: Whether an exemplar of the phrase is drawn.
        templates: The text is the phrase in one of these.
        crops: Whether a square that shows the object is used instead of the whole image.
    """

    negative_share: float = NEGATIVE_SHARE
    exemplars: bool = True
    templates: tuple[str, ...] = PROMPT_TEMPLATES
    crops: bool = True


class PlusQuestions:
    """Every (image, phrase) of a set; each draw of one makes another training example.

    Args:
        samples: From `read_phrasecut`, or any others whose targets have masks.
        options: How they become examples.

    Raises:
        DataError: Nothing has a mask.
    """

    def __init__(self, samples: Sequence[Sample], options: PlusOptions = PlusOptions()) -> None:
        self.options = options
        self._questions = list_image_phrases(samples)
        if not self._questions:
            raise DataError(f"none of {len(samples)} images has a phrase with a mask")
        self._by_phrase = group_by_phrase(self._questions)
        self._phrases = tuple(self._by_phrase)

    def __len__(self) -> int:
        return len(self._questions)

    def draw(self, index: int, rng: np.random.Generator) -> PlusExample:
        """Make an example of one (image, phrase); every random choice comes from `rng`.

        Raises:
            DataError: An image has every phrase of the set, so that none is foreign to it.
        """
        options = self.options
        query, target = self._questions[index].sample, self._questions[index].target
        height, width = query.size_hw
        crop_xyxy: CropBox = (0, 0, width, height)
        if options.crops:
            crop_xyxy = square_object_crop(union_mask(target.masks, query.size_hw), rng)
        if rng.random() < options.negative_share:
            phrase = _foreign_phrase(query, self._phrases, rng)
            asked = replace(query, targets=(), absent=(phrase,), exhaustive=frozenset())
        else:
            phrase = target.phrase
            asked = self._questions[index].query()
        exemplar = draw_exemplar(self._by_phrase[phrase], query, rng) if options.exemplars else None
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
        seed: Seed; with `epoch` it decides every choice.
        epoch: Another epoch has another order and other choices.
        negative_share: See `PlusOptions`.

    Raises:
        DataError: As `PlusQuestions` and its `draw`.
    """
    questions = PlusQuestions(samples, PlusOptions(negative_share=negative_share))
    for index in np.random.default_rng([seed, epoch]).permutation(len(questions)).tolist():
        # Each example has its own generator: its choices do not change those of the others.
        yield questions.draw(index, np.random.default_rng([seed, epoch, index]))


def _foreign_phrase(query: Sample, phrases: Sequence[str], rng: np.random.Generator) -> str:
    """Draw a phrase that nothing annotated in the image implies: "dog" is not foreign where a "black dog" is."""
    present = [set(target.phrase.split()) for target in query.targets]
    for phrase in rotate_randomly(phrases, rng):
        words = set(phrase.split())
        if not any(words <= there for there in present):
            return phrase
    raise DataError(f"{query.sample_id} has all {len(phrases)} phrases of the set; none is foreign to it")


def _crop_exemplar(exemplar: Exemplar, rng: np.random.Generator) -> CropBox:
    height, width = exemplar.mask["size"]
    return square_object_crop(union_mask((exemplar.mask,), (height, width)), rng)
