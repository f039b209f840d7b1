"""Training batches from annotated images: phrases, their wordings, and one view of each image."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from promptseg.data.negatives import NegativeSampler
from promptseg.data.sample import Sample, Target, ignore_mask, target_mask
from promptseg.errors import DataError, RecipeError
from promptseg.images import read_image
from promptseg.language.phrases import PLURAL_TEMPLATES, STUFF_TEMPLATES, THING_TEMPLATES, fill, plural, wordings
from promptseg.train.augment import View, random_crop, view_image, view_mask, visible_share
from promptseg.train.batch import move_tensors
from promptseg.train.cache import FeatureCache, ImageView
from promptseg.train.color_jitter import ColorChange
from promptseg.train.text_flip import flip_phrase

T = TypeVar("T")

# A target is present if a crop keeps at least this share of it; with less it is neither present nor absent.
_MIN_VISIBLE = 0.3


@dataclass(frozen=True, kw_only=True)
class SampleOptions:
    """How images become items.

    Attributes:
        image_hw: Size of the image given to the tower, pixels.
        mask_hw: Size of the loss grid, pixels.
        num_present: Most phrases of an item that are present in its image.
        num_absent: Most phrases of an item that are absent from it.
        reword: Probability that a name is replaced by a synonym, a plural or a template.
        horizontal_flip: Probability that the image is flipped, if its phrases can be.
        crop: Least share of each side that a random crop keeps; None: no crop. Images with spatial phrases are not
            cropped.
        jitter: Strength of the color jitter (brightness, contrast and saturation); 0: none.
        passes: Number of visits to each image in an epoch.
    """

    image_hw: tuple[int, int]
    mask_hw: tuple[int, int]
    num_present: int = 1
    num_absent: int = 0
    reword: float = 0.0
    horizontal_flip: float = 0.0
    crop: float | None = None
    jitter: float = 0.0
    passes: int = 1

    def plain(self) -> "SampleOptions":
        """Return the same options for validation: the only random choice left is that of the phrases."""
        return replace(self, reword=0.0, horizontal_flip=0.0, crop=None, jitter=0.0, passes=1)


@dataclass(frozen=True)
class PhraseItem:
    """One view of an image and N phrases for it; see `PhraseBatch`."""

    sample_id: str
    image_rgb: np.ndarray | None
    maps: tuple[Tensor, ...] | None
    texts: tuple[str, ...]
    target: np.ndarray
    valid: np.ndarray
    present: np.ndarray
    weight: np.ndarray


@dataclass(frozen=True, kw_only=True)
class PhraseBatch:
    """B images and N phrases, each for one of the images.

    Attributes:
        images_rgb: Shape (B, H, W, 3), uint8, normalized by the objective; None where `maps` are given.
        maps: The image tower's maps, each (B, C_i, h_i, w_i), float16; None where pixels are given.
        texts: N phrases.
        image_index: Image of each phrase, shape (N,), int64.
        target: Share of each pixel that is object, shape (N, h, w), float32.
        valid: Labeled pixels, shape (N, h, w), bool.
        present: Whether the phrase is present in its image, shape (N,), bool.
        weight: Confidence in the annotation, shape (N,), float32.
        sample_ids: Names of the B images.
    """

    images_rgb: Tensor | None
    maps: tuple[Tensor, ...] | None
    texts: tuple[str, ...]
    image_index: Tensor
    target: Tensor
    valid: Tensor
    present: Tensor
    weight: Tensor
    sample_ids: tuple[str, ...]

    def to(self, device: torch.device) -> Self:
        """Return the same batch with its tensors on another device."""
        return move_tensors(self, device)


class PhraseSource:
    """Items from annotated images; a `TrainSource`.

    Args:
        samples: Annotated images; those without a mask are left out.
        options: How they become items.
        negatives: Draws absent names, besides those that a sample itself lists.
        cache: Features of the frozen tower, filled for every view that `options` can draw.

    Raises:
        DataError: No sample has a mask.
        RecipeError: A cache is given, and `options` draw crops or colors.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        options: SampleOptions,
        *,
        negatives: NegativeSampler | None = None,
        cache: FeatureCache | None = None,
    ) -> None:
        self.samples = tuple(sample for sample in samples if sample.with_evidence("mask"))
        self.options, self.negatives, self.cache = options, negatives, cache
        if not self.samples:
            raise DataError(f"none of {len(samples)} images has a mask to train on")
        if cache is not None and (options.crop is not None or options.jitter):
            raise RecipeError("cached features hold only whole images, flipped or not: set crop=None and jitter=0")

    def __len__(self) -> int:
        return len(self.samples) * self.options.passes

    def views(self) -> list[ImageView]:
        """Return every view of every image that a cache must hold."""
        sides = (False, True) if self.options.horizontal_flip else (False,)
        return [ImageView(sample.image, flipped) for sample in self.samples for flipped in sides]

    def with_cache(self, cache: FeatureCache) -> "PhraseSource":
        """Return the same source with features instead of images."""
        return PhraseSource(self.samples, self.options, negatives=self.negatives, cache=cache)

    def item(self, index: int, rng: np.random.Generator) -> PhraseItem:
        """Make one item; every random choice comes from `rng`.

        Raises:
            ImageError: The image can't be read.
            DataError: One of its masks is damaged or of another size.
        """
        sample, options = self.samples[index % len(self.samples)], self.options
        targets = _draw(sample.with_evidence("mask"), options.num_present, rng)
        absent = list(_draw(sample.absent, options.num_absent, rng))
        if self.negatives is not None and len(absent) < options.num_absent:
            absent += self.negatives.draw(sample, options.num_absent - len(absent), rng)
        texts = [_wording(target, options.reword, rng) for target in targets] + absent

        flipped_texts = [flip_phrase(text) for text in texts]
        flipped = rng.random() < options.horizontal_flip and None not in flipped_texts
        view = self._draw_view(sample, targets, flipped, rng)
        if flipped:
            texts = [text for text in flipped_texts if text is not None]

        masks = [target_mask(target, sample.size_hw) for target in targets]
        ignored = [ignore_mask(target, sample.size_hw) for target in targets]
        presence = [_presence(mask, void, view) for mask, void in zip(masks, ignored, strict=True)]
        kept = [i for i in range(len(targets)) if presence[i] is not None]
        height, width = options.mask_hw
        target = np.zeros((len(kept) + len(absent), height, width), dtype=np.float32)
        valid = np.ones(target.shape, dtype=bool)
        for row, i in enumerate(kept):
            target[row] = view_mask(masks[i], view, options.mask_hw)
            valid[row] = view_mask(ignored[i], view, options.mask_hw) < 0.5
        maps = None if self.cache is None else self.cache.load(ImageView(sample.image, flipped))
        return PhraseItem(
            sample_id=sample.sample_id,
            image_rgb=None if maps is not None else view_image(read_image(sample.image), view, options.image_hw),
            maps=maps,
            texts=tuple(texts[i] for i in kept) + tuple(texts[len(targets) :]),
            target=target,
            valid=valid,
            present=np.array([bool(presence[i]) for i in kept] + [False] * len(absent)),
            weight=np.array([targets[i].score for i in kept] + [1.0] * len(absent), dtype=np.float32),
        )

    def _draw_view(self, sample: Sample, targets: Sequence[Target], flipped: bool, rng: np.random.Generator) -> View:
        options = self.options
        cropped = options.crop is not None and all(target.kind != "phrase" for target in targets)
        colors = ColorChange.draw((options.jitter,) * 3, rng)
        return View(
            crop_xyxy=random_crop(sample.size_hw, options.crop, rng) if cropped and options.crop is not None else None,
            flipped=flipped,
            colors=colors,
        )

    def collate(self, items: list[PhraseItem]) -> PhraseBatch:
        """Join items into a batch."""
        images = [item.image_rgb for item in items if item.image_rgb is not None]
        levels = [item.maps for item in items if item.maps is not None]
        counts = torch.tensor([len(item.texts) for item in items])
        return PhraseBatch(
            images_rgb=torch.from_numpy(np.stack(images)) if images else None,
            maps=tuple(torch.stack(level) for level in zip(*levels, strict=True)) if levels else None,
            texts=tuple(text for item in items for text in item.texts),
            image_index=torch.arange(len(items)).repeat_interleave(counts),
            target=torch.from_numpy(np.concatenate([item.target for item in items])),
            valid=torch.from_numpy(np.concatenate([item.valid for item in items])),
            present=torch.from_numpy(np.concatenate([item.present for item in items])),
            weight=torch.from_numpy(np.concatenate([item.weight for item in items])),
            sample_ids=tuple(item.sample_id for item in items),
        )


def one_phrase_each(samples: Sequence[Sample]) -> list[Sample]:
    """Split samples so that each has one phrase: an epoch then visits phrases, not images.

    A split sample does not know the other targets of its image, so that absent names must not be drawn for it.
    """
    return [replace(sample, targets=(target,)) for sample in samples for target in sample.with_evidence("mask")]


def _draw(choices: Sequence[T], most: int, rng: np.random.Generator) -> list[T]:
    """Draw at most `most` of the choices, in their own order."""
    if len(choices) <= most:
        return list(choices)
    return [choices[i] for i in sorted(rng.choice(len(choices), size=most, replace=False))]


def _presence(mask: NDArray[np.bool_], ignored: NDArray[np.bool_], view: View) -> bool | None:
    """Return whether a view shows a target, masks bool (H, W); None where it shows too little of it to decide."""
    share = visible_share(mask, view)
    if share >= _MIN_VISIBLE:
        return True
    return False if share == 0.0 and not (ignored.any() and visible_share(ignored, view) > 0.0) else None


def _wording(target: Target, reword: float, rng: np.random.Generator) -> str:
    """Choose the wording of a target."""
    if rng.random() >= reword:
        return target.phrase
    if target.kind == "phrase":
        return str(rng.choice((target.phrase, *target.alternatives)))
    num_instances = len(target.masks)
    name = str(rng.choice((*wordings(target.phrase, num_instances=num_instances), *target.alternatives)))
    return fill(str(rng.choice(_templates(target, name))), name)


def _templates(target: Target, name: str) -> Sequence[str]:
    if target.kind == "stuff":
        return STUFF_TEMPLATES
    many = len(target.masks) > 1 and name == plural(name)
    return PLURAL_TEMPLATES if many else THING_TEMPLATES
