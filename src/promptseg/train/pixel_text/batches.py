"""Training batches in which every name of a shared list is present, absent or unknown in each image.

Shapes: B images, N names in the batch, s cells along each side of a crop, S pixels along each side.
"""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from promptseg.data.sample import Mask, Sample, Target, ignore_mask, target_mask
from promptseg.errors import DataError
from promptseg.images import read_image
from promptseg.language.phrases import canonical
from promptseg.train.augment import ResizedCrop, random_resized_crop
from promptseg.train.batch import move_tensors
from promptseg.train.color_jitter import ColorChange
from promptseg.train.pixel_text.vocabulary import Vocabulary
from promptseg.train.text_flip import flip_phrases

COLOR_STRENGTHS = (0.3, 0.3, 0.4)  # of brightness, contrast and saturation
JITTER_SHARE = 0.6  # share of the crops whose colors are changed
MAX_TAG_ZOOM = 0.85  # a crop of an image with a tag must show the whole object
COVERED = 0.5  # share of a cell from which on the cell belongs to the object


@dataclass(frozen=True)
class PixelTextSettings:
    """How crops are made, and the weight of each kind of evidence.

    Attributes:
        side: Side of a crop, pixels.
        stride: Side of a cell, pixels.
        reference_side: Longest side of an image at zoom 1, pixels.
        zoom: Least and greatest magnification.
        focus_share: Share of the crops that are centered near a target.
        num_random_names: Names drawn from the whole vocabulary for each batch.
        pseudo_mask_weight: Weight of a pseudo-mask under the first name that a detector gave.
        other_name_weight: Weight of that detector's other names for the mask.
        weak_absence: Weight of the absence of a name that the annotation does not mention; 1 is the weight of names
            that are known to be absent.
    """

    side: int = 320
    stride: int = 8
    reference_side: int = 512
    zoom: tuple[float, float] = (0.6, 1.9)
    focus_share: float = 0.75
    num_random_names: int = 90
    pseudo_mask_weight: float = 0.5
    other_name_weight: float = 0.15
    weak_absence: float = 0.4

    @property
    def num_cells(self) -> int:
        """Return the number of cells along each side of a crop."""
        return self.side // self.stride


@dataclass(frozen=True)
class PixelTextItem:
    """One crop. Names are indexes into the vocabulary.

    Attributes:
        sample_id: Name of the image.
        image_rgb: The crop, shape (S, S, 3), uint8.
        valid: Share of each cell that lies in the image and is annotated, shape (s, s).
        name_ids: Name of each map; a target with several names has several maps.
        maps: Share of each cell that the target covers, shape (M, s, s).
        weights: Weight of each map, shape (M,).
        tag_ids: Names of the only object of an image without masks.
        mentioned_ids: Every name in the annotation of the image, inside the crop or not.
        exhaustive_ids: Names that are known to be absent unless mentioned.
        absence_weight: Weight of the absence of names that the annotation does not mention.
    """

    sample_id: str
    image_rgb: NDArray[np.uint8]
    valid: NDArray[np.float32]
    name_ids: tuple[int, ...]
    maps: NDArray[np.float32]
    weights: NDArray[np.float32]
    tag_ids: tuple[int, ...]
    mentioned_ids: tuple[int, ...]
    exhaustive_ids: tuple[int, ...]
    absence_weight: float


@dataclass(frozen=True)
class PixelTextBatch:
    """Crops with one list of names.

    Attributes:
        sample_ids: Names of the images.
        images_rgb: Shape (B, S, S, 3), uint8, normalized by the objective; (B, 0, 0, 3) where their features are known.
        valid: Shape (B, s, s).
        name_ids: Shape (N,), int64, into the vocabulary.
        maps: Share of each cell that each name covers, shape (B, N, s, s).
        present: Weight of a known map, shape (B, N); 0: the map is not known.
        absent: Weight of the absence of a name from the image, shape (B, N); 0: not known to be absent.
        tags: True for the names of the only object of an image without masks, shape (B, N), bool.
    """

    sample_ids: Sequence[str]
    images_rgb: Tensor
    valid: Tensor
    name_ids: Tensor
    maps: Tensor
    present: Tensor
    absent: Tensor
    tags: Tensor

    def to(self, device: torch.device) -> Self:
        """Return the same batch with its tensors on another device."""
        return move_tensors(self, device)


@dataclass(frozen=True)
class PixelTextSource:
    """Training crops, drawn with replacement: first an image by the share of its set, then a crop; a `TrainSource`.

    Attributes:
        samples: Images to draw from.
        vocabulary: Every name that batches may hold.
        set_weights: Relative probability of an image of each set; other sets have `default_weight`.
        always_included: Names that every batch holds.
        stuff: Names that are absent only where people annotated their absence.
        num_items: Crops in an epoch.
        settings: See `PixelTextSettings`.
        default_weight: See `set_weights`.
        stuff_factor: Factor on the probability of images in which people have drawn stuff.
        partly_named: Sets whose annotation omits most of what they show: a name that they do not mention is unknown.

    Raises:
        DataError: No image has a mask, or a tag of its only object.
    """

    samples: Sequence[Sample]
    vocabulary: Vocabulary
    set_weights: Mapping[str, float]
    always_included: tuple[str, ...]
    stuff: tuple[str, ...]
    num_items: int
    settings: PixelTextSettings = field(default_factory=PixelTextSettings)
    default_weight: float = 0.4
    stuff_factor: float = 1.0
    partly_named: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if not any(map(self._image_weight, self.samples)):
            raise DataError(f"none of {len(self.samples)} images has a mask, or a tag of its only object, to train on")

    def __len__(self) -> int:
        return self.num_items

    def item(self, index: int, rng: np.random.Generator) -> PixelTextItem:
        """Draw an image and a crop of it; `index` only numbers the draws.

        Raises:
            ImageError: The image can't be read.
            DataError: One of its masks is damaged or of another size.
        """
        sample = self.samples[int(rng.choice(len(self.samples), p=self.probabilities))]
        settings = self.settings
        targets = [target for target in sample.targets if target.masks and target.kind != "phrase"]
        masks = [target_mask(target, sample.size_hw) for target in targets]
        crop = self._draw_crop(sample.size_hw, masks, rng)
        image = crop.cut_image(Image.fromarray(read_image(sample.image)))
        if rng.random() < JITTER_SHARE:
            image = ColorChange.draw(COLOR_STRENGTHS, rng).apply(image)
        names = self._cover_names(targets, masks, crop)
        cells = settings.num_cells
        mentioned = [name for target in sample.targets for name in (target.phrase, *target.alternatives)]
        tags = sample.targets if sample.single_object and not targets else ()
        return PixelTextItem(
            sample_id=sample.sample_id,
            image_rgb=np.asarray(image),
            valid=_valid_cells(sample, targets, crop, cells),
            name_ids=tuple(names),
            maps=np.stack([one for one, _ in names.values()]) if names else np.zeros((0, cells, cells), np.float32),
            weights=np.array([weight for _, weight in names.values()], np.float32),
            tag_ids=tuple(self.vocabulary.find(n for target in tags for n in (target.phrase, *target.alternatives))),
            mentioned_ids=tuple(self.vocabulary.find(flip_phrases(mentioned) if crop.flipped else mentioned)),
            exhaustive_ids=tuple(self.vocabulary.find(sample.exhaustive)),
            absence_weight=0.0 if sample.dataset in self.partly_named else settings.weak_absence,
        )

    def collate(self, items: list[PixelTextItem]) -> PixelTextBatch:
        """Join crops; the batch has one list of names for all of them."""
        rng = np.random.default_rng([len(items), *(zlib.crc32(item.sample_id.encode()) for item in items)])
        included = {name for item in items for name in (*item.name_ids, *item.tag_ids)}
        included.update(self.vocabulary.find((*self.always_included, *self.stuff)))
        size = len(self.vocabulary.names)
        included.update(rng.choice(size, min(self.settings.num_random_names, size), replace=False).tolist())
        name_ids = np.array(sorted(included))
        column = {int(name): index for index, name in enumerate(name_ids)}
        cells = self.settings.num_cells
        maps = np.zeros((len(items), len(name_ids), cells, cells), np.float32)
        present = np.zeros((len(items), len(name_ids)), np.float32)
        absent = np.zeros_like(present)
        tags = np.zeros_like(present, dtype=bool)
        for row, item in enumerate(items):
            for name, covered, weight in zip(item.name_ids, item.maps, item.weights, strict=True):
                maps[row, column[name]], present[row, column[name]] = covered, weight
            tags[row, [column[name] for name in item.tag_ids]] = True
            absent[row] = self._weigh_absence(item, name_ids)
        return PixelTextBatch(
            sample_ids=[item.sample_id for item in items],
            images_rgb=torch.from_numpy(np.stack([item.image_rgb for item in items])),
            valid=torch.from_numpy(np.stack([item.valid for item in items])),
            name_ids=torch.from_numpy(name_ids),
            maps=torch.from_numpy(maps),
            present=torch.from_numpy(present),
            absent=torch.from_numpy(absent),
            tags=torch.from_numpy(tags),
        )

    @cached_property
    def probabilities(self) -> NDArray[np.float64]:
        """Probability of each sample to be drawn, shape (N,); 0 for samples without a mask or a tag."""
        weights = np.array([self._image_weight(sample) for sample in self.samples])
        return np.asarray(weights / weights.sum())

    def _image_weight(self, sample: Sample) -> float:
        weight = self.set_weights.get(sample.dataset, self.default_weight)
        if any(target.kind == "stuff" and target.masks for target in sample.targets):
            weight *= self.stuff_factor
        usable = sample.single_object or any(target.masks for target in sample.targets)
        return weight if usable else 0.0

    def _draw_crop(self, size_hw: tuple[int, int], masks: Sequence[Mask], rng: np.random.Generator) -> ResizedCrop:
        """Draw a crop, often one that shows a target."""
        settings, focus_xy = self.settings, None
        if masks and rng.random() < settings.focus_share:
            focus_xy = _point_inside(masks[int(rng.integers(len(masks)))], rng)
        return random_resized_crop(
            size_hw,
            rng,
            side=settings.side,
            reference_side=settings.reference_side,
            zoom=settings.zoom if masks else (settings.zoom[0], MAX_TAG_ZOOM),
            focus_xy=focus_xy,
        )

    def _cover_names(
        self, targets: Sequence[Target], masks: Sequence[Mask], crop: ResizedCrop
    ) -> dict[int, tuple[NDArray[np.float32], float]]:
        """Return the map of each name in the crop, shape (s, s), and its weight."""
        names: dict[int, tuple[NDArray[np.float32], float]] = {}
        for target, mask in zip(targets, masks, strict=True):
            covered = crop.cut_mask(mask, self.settings.num_cells)
            if covered.sum() > COVERED:
                for name_index, weight in self._weigh_names(target, flipped=crop.flipped):
                    known = names.get(name_index, (covered, weight))
                    names[name_index] = (np.maximum(known[0], covered), max(known[1], weight))
        return names

    def _weigh_names(self, target: Target, *, flipped: bool) -> list[tuple[int, float]]:
        """Return the names of a target with the weight of each; a flipped image swaps left and right."""
        trusted = target.source in ("human", "human-box")
        weighed = []
        for position, name in enumerate((target.phrase, *target.alternatives)):
            weight = 1.0 if trusted else self.settings.pseudo_mask_weight
            if position and not trusted:
                weight = self.settings.other_name_weight
            wordings = flip_phrases([name]) if flipped else [name]
            weighed += [(name_index, weight) for name_index in self.vocabulary.find(wordings)]
        return weighed

    def _weigh_absence(self, item: PixelTextItem, name_ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return how certainly each name of the batch is absent from the image, shape (N,)."""
        weights = np.full(len(name_ids), item.absence_weight, np.float32)
        weights[np.isin(name_ids, self.vocabulary.find(self.stuff))] = 0.0
        for name in item.mentioned_ids:
            weights[self.vocabulary.may_coincide(name)[name_ids]] = 0.0
        weights[np.isin(name_ids, item.exhaustive_ids)] = 1.0
        mentioned = {canonical(self.vocabulary.names[name]) for name in item.mentioned_ids}
        for column, name in enumerate(name_ids):
            if canonical(self.vocabulary.names[int(name)]) in mentioned:
                weights[column] = 0.0
        return weights


def _valid_cells(sample: Sample, targets: Sequence[Target], crop: ResizedCrop, num_cells: int) -> NDArray[np.float32]:
    """Return the share of each cell that lies in the image and is annotated, shape (num_cells, num_cells)."""
    valid = crop.cut_mask(np.ones(sample.size_hw, bool), num_cells)
    for target in targets:
        if target.void:
            valid = valid * (1.0 - crop.cut_mask(ignore_mask(target, sample.size_hw), num_cells))
    return valid


def _point_inside(mask: Mask, rng: np.random.Generator) -> tuple[float, float] | None:
    """Draw a pixel of a mask, (x, y); None where the mask is empty."""
    ys, xs = np.nonzero(mask)
    if not len(ys):
        return None
    drawn = int(rng.integers(len(ys)))
    return float(xs[drawn]), float(ys[drawn])
