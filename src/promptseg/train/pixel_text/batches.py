"""From annotated images to batches in which every name of a shared list is true, false or unknown for each image.

Shapes: B images, N names in the batch, s cells along each side of a crop, S pixels along each side.
"""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from promptseg.data.sample import Sample, Target, ignore_mask, target_mask
from promptseg.encoders.base import IMAGENET_MEAN, IMAGENET_STD
from promptseg.errors import DataError
from promptseg.images import read_image
from promptseg.language.phrases import canonical
from promptseg.train.color_jitter import ColorChange
from promptseg.train.pixel_text.crops import choose_crop
from promptseg.train.pixel_text.vocabulary import Vocabulary
from promptseg.train.text_flip import mirror_phrase

COLOR_STRENGTHS = (0.3, 0.3, 0.4)  # of brightness, contrast and saturation
COVERED = 0.5  # share of a cell from which on it counts as the object's


@dataclass(frozen=True)
class DenseSettings:
    """How crops are made and how much each kind of evidence weighs.

    Attributes:
        side: Pixels along each side of a crop.
        stride: Pixels along each side of a cell.
        reference_side: Longest side of an image at zoom 1.
        zoom: Least and greatest magnification.
        focus_share: Share of the crops that are centerd near a target.
        num_random_names: Names drawn from the whole vocabulary for each batch.
        mean, std: Of the image tower, per channel, for RGB in [0, 1].
        made_weight: Weight of a mask that a process made with a name that a detector gave.
        other_name_weight: Weight of that detector's other names for the mask.
        weak_absence: Weight of "a name nobody mentioned is absent"; 1 is for names that are known to be absent.
    """

    side: int = 320
    stride: int = 8
    reference_side: int = 512
    zoom: tuple[float, float] = (0.6, 1.9)
    focus_share: float = 0.75
    num_random_names: int = 90
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    made_weight: float = 0.5
    other_name_weight: float = 0.15
    weak_absence: float = 0.4

    @property
    def num_cells(self) -> int:
        """Cells along each side of a crop."""
        return self.side // self.stride


@dataclass(frozen=True)
class DenseItem:
    """One crop. Names are indexes into the vocabulary.

    Attributes:
        sample_id: Of the image.
        pixels: Shape (3, S, S), normalized float32.
        valid: Share of each cell that lies in the image and is annotated, shape (s, s).
        name_ids: Name of each map; a target with several names has several maps.
        maps: Share of each cell that the target covers, shape (M, s, s).
        weights: Of each map, shape (M,).
        tag_ids: Names of the only object of an image without masks.
        mentioned_ids: Every name that is said of the image, in the crop or not.
        exhaustive_ids: Names that are known to be absent unless mentioned.
        silence: Weight of "a name that nobody mentioned is absent".
    """

    sample_id: str
    pixels: NDArray[np.float32]
    valid: NDArray[np.float32]
    name_ids: tuple[int, ...]
    maps: NDArray[np.float32]
    weights: NDArray[np.float32]
    tag_ids: tuple[int, ...]
    mentioned_ids: tuple[int, ...]
    exhaustive_ids: tuple[int, ...]
    silence: float


@dataclass  # not frozen: Fabric puts converted tensors into a copy of it
class DenseBatch:
    """Crops with one list of names.

    Attributes:
        sample_ids: Of the images.
        pixels: Shape (B, 3, S, S).
        valid: Shape (B, s, s).
        name_ids: Shape (N,), int64, into the vocabulary.
        maps: Where each name holds, share of each cell, shape (B, N, s, s).
        present: Weight of a known map, shape (B, N); 0: there is none.
        absent: Weight of the statement that a name is not in the crop, shape (B, N); 0: not known.
        tags: True for the names of the only object of an image without masks, shape (B, N), bool.
    """

    sample_ids: Sequence[str]
    pixels: Tensor
    valid: Tensor
    name_ids: Tensor
    maps: Tensor
    present: Tensor
    absent: Tensor
    tags: Tensor

    def to(self, device: torch.device) -> Self:
        """The same batch with its tensors on another device."""
        moved: dict[str, Any] = {
            name: value.to(device) for name, value in vars(self).items() if isinstance(value, Tensor)
        }
        return replace(self, **moved)


@dataclass(frozen=True)
class DenseSource:
    """Training crops, drawn with replacement: first an image by its set's share, then a window on it.

    Attributes:
        samples: Images to draw from.
        vocabulary: Every name that can be asked for.
        set_weights: Chance of an image of each set, relative; sets that are not named have `default_weight`.
        always_asked: Names that every batch asks for, as far as they are known for an image.
        stuff: Names whose absence is only believed where people say that they are not there.
        num_items: Crops in an epoch.
        settings: See `DenseSettings`.
        default_weight: See set_weights.
        stuff_factor: How much oftener an image is drawn in which people have drawn stuff.
        partly_named: Sets whose annotation leaves out most of what they show: their silence says nothing.
    """

    samples: Sequence[Sample]
    vocabulary: Vocabulary
    set_weights: Mapping[str, float]
    always_asked: tuple[str, ...]
    stuff: tuple[str, ...]
    num_items: int
    settings: DenseSettings = field(default_factory=DenseSettings)
    default_weight: float = 0.4
    stuff_factor: float = 1.0
    partly_named: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if not any(map(self._image_weight, self.samples)):
            raise DataError(f"none of {len(self.samples)} images has a mask, or a tag of its only object, to train on")

    def __len__(self) -> int:
        return self.num_items

    def item(self, index: int, rng: np.random.Generator) -> DenseItem:
        """Draw an image and a window on it; `index` only numbers the draws."""
        sample = self.samples[int(rng.choice(len(self.samples), p=self.chances))]
        settings, cells = self.settings, self.settings.num_cells
        placed = [target for target in sample.targets if target.masks and target.kind != "phrase"]
        masks = [target_mask(target, sample.size_hw) for target in placed]
        focus_xy = None
        if masks and rng.random() < settings.focus_share:
            focus_xy = _point_inside(masks[int(rng.integers(len(masks)))], rng)
        crop = choose_crop(
            sample.size_hw,
            rng,
            side=settings.side,
            reference_side=settings.reference_side,
            zoom=settings.zoom if placed else (settings.zoom[0], 0.85),  # a tag needs its whole object in sight
            focus_xy=focus_xy,
        )
        image = crop.cut_image(Image.fromarray(read_image(sample.image)))
        if rng.random() < 0.6:
            image = ColorChange.draw(COLOR_STRENGTHS, rng).apply(image)
        mean, std = np.array(settings.mean, np.float32), np.array(settings.std, np.float32)
        pixels = (np.asarray(image, np.float32) / 255.0 - mean) / std

        valid = crop.cut_mask(np.ones(sample.size_hw, bool), cells)
        for target in placed:
            if target.void:
                valid = valid * (1.0 - crop.cut_mask(ignore_mask(target, sample.size_hw), cells))
        names: dict[int, tuple[NDArray[np.float32], float]] = {}
        for target, mask in zip(placed, masks, strict=True):
            covered = crop.cut_mask(mask, cells)
            if covered.sum() > COVERED:
                for name_index, weight in self._weigh_names(target, flipped=crop.flipped):
                    known = names.get(name_index, (covered, weight))
                    names[name_index] = (np.maximum(known[0], covered), max(known[1], weight))
        mentioned = [name for target in sample.targets for name in (target.phrase, *target.alternatives)]
        tags = sample.targets if sample.single_object and not placed else ()
        return DenseItem(
            sample_id=sample.sample_id,
            pixels=np.ascontiguousarray(pixels.transpose(2, 0, 1), np.float32),
            valid=valid,
            name_ids=tuple(names),
            maps=np.stack([one for one, _ in names.values()]) if names else np.zeros((0, cells, cells), np.float32),
            weights=np.array([weight for _, weight in names.values()], np.float32),
            tag_ids=tuple(self.vocabulary.find(n for target in tags for n in (target.phrase, *target.alternatives))),
            mentioned_ids=tuple(self.vocabulary.find(_mirror(mentioned) if crop.flipped else mentioned)),
            exhaustive_ids=tuple(self.vocabulary.find(sample.exhaustive)),
            silence=0.0 if sample.dataset in self.partly_named else settings.weak_absence,
        )

    def collate(self, items: list[DenseItem]) -> DenseBatch:
        """Join crops; the names of one are questions to all."""
        rng = np.random.default_rng([len(items), *(zlib.crc32(item.sample_id.encode()) for item in items)])
        asked = {name for item in items for name in (*item.name_ids, *item.tag_ids)}
        asked.update(self.vocabulary.find((*self.always_asked, *self.stuff)))
        size = len(self.vocabulary.names)
        asked.update(rng.choice(size, min(self.settings.num_random_names, size), replace=False).tolist())
        name_ids = np.array(sorted(asked))
        place = {int(name): column for column, name in enumerate(name_ids)}
        cells = self.settings.num_cells
        maps = np.zeros((len(items), len(name_ids), cells, cells), np.float32)
        present = np.zeros((len(items), len(name_ids)), np.float32)
        absent = np.zeros_like(present)
        tags = np.zeros_like(present, dtype=bool)
        for row, item in enumerate(items):
            for name, covered, weight in zip(item.name_ids, item.maps, item.weights, strict=True):
                maps[row, place[name]], present[row, place[name]] = covered, weight
            tags[row, [place[name] for name in item.tag_ids]] = True
            absent[row] = self._weigh_absence(item, name_ids)
        return DenseBatch(
            sample_ids=[item.sample_id for item in items],
            pixels=torch.from_numpy(np.stack([item.pixels for item in items])),
            valid=torch.from_numpy(np.stack([item.valid for item in items])),
            name_ids=torch.from_numpy(name_ids),
            maps=torch.from_numpy(maps),
            present=torch.from_numpy(present),
            absent=torch.from_numpy(absent),
            tags=torch.from_numpy(tags),
        )

    @cached_property
    def chances(self) -> NDArray[np.float64]:
        """Chance of each sample to be drawn, shape (N,); of those without a mask or a tag it is 0."""
        weights = np.array([self._image_weight(sample) for sample in self.samples])
        return np.asarray(weights / weights.sum())

    def _image_weight(self, sample: Sample) -> float:
        weight = self.set_weights.get(sample.dataset, self.default_weight)
        if any(target.kind == "stuff" and target.masks for target in sample.targets):
            weight *= self.stuff_factor
        usable = sample.single_object or any(target.masks for target in sample.targets)
        return weight if usable else 0.0

    def _weigh_names(self, target: Target, *, flipped: bool) -> list[tuple[int, float]]:
        """Give the names of a target with the weight of each; mirrored images swap left and right."""
        trusted = target.source in ("human", "human-box")
        weighed = []
        for position, name in enumerate((target.phrase, *target.alternatives)):
            weight = 1.0 if trusted else self.settings.made_weight
            if position and not trusted:
                weight = self.settings.other_name_weight
            wordings = _mirror([name]) if flipped else [name]
            weighed += [(name_index, weight) for name_index in self.vocabulary.find(wordings)]
        return weighed

    def _weigh_absence(self, item: DenseItem, name_ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """Say how surely each name of the batch is absent from the image, shape (N,)."""
        weights = np.full(len(name_ids), item.silence, np.float32)
        weights[np.isin(name_ids, self.vocabulary.find(self.stuff))] = 0.0
        for name in item.mentioned_ids:
            weights[self.vocabulary.unsure_of(name)[name_ids]] = 0.0
        weights[np.isin(name_ids, item.exhaustive_ids)] = 1.0
        said = {canonical(self.vocabulary.names[name]) for name in item.mentioned_ids}
        for column, name in enumerate(name_ids):
            if canonical(self.vocabulary.names[int(name)]) in said:
                weights[column] = 0.0
        return weights


def _point_inside(mask: NDArray[np.bool_], rng: np.random.Generator) -> tuple[float, float] | None:
    """Choose a pixel of a mask, (x, y); None where it is empty."""
    ys, xs = np.nonzero(mask)
    if not len(ys):
        return None
    chosen = int(rng.integers(len(ys)))
    return float(xs[chosen]), float(ys[chosen])


def _mirror(names: Sequence[str]) -> list[str]:
    """Reword names for the mirrored image, without those that can't be."""
    return [mirrored for name in names if (mirrored := mirror_phrase(name)) is not None]
