"""The towers that a model's config can name."""

import difflib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import torch

from promptseg import weights
from promptseg.encoders.base import ImageTower, Layer, TextTower
from promptseg.encoders.clip_text import ClipText
from promptseg.encoders.clip_vision import ClipVision
from promptseg.encoders.dinov2 import Dinov2
from promptseg.encoders.efficientnet_lite import EfficientNetLite
from promptseg.encoders.minilm import MiniLM
from promptseg.encoders.paired import PairedTower
from promptseg.encoders.tiny import TinyConv, TinyText
from promptseg.encoders.vit import Vit
from promptseg.encoders.yolox import STRIDES, YoloxNano
from promptseg.errors import UnknownModelError, WeightsError

Record = TypeVar("Record")


@dataclass(frozen=True)
class ImageTowerRecord:
    """How to build an image tower, given the layers to take, and the names of its pretrained weights.

    No names: a test tower. None: nobody's copy of its weights could be verified, so its user brings them.
    """

    build: Callable[[Sequence[Layer]], ImageTower]
    weights: tuple[str, ...] | None


@dataclass(frozen=True)
class TextTowerRecord:
    """How to build a text tower, and the names of its pretrained weights."""

    build: Callable[[], TextTower]
    weights: tuple[str, ...]


def _lite2_and_yolox(layers: Sequence[Layer]) -> ImageTower:
    """Pair ImageNet's 1000 names, as features, with COCO's 80, as detections."""
    return PairedTower(EfficientNetLite("lite2", layers), YoloxNano([stride for stride in STRIDES if stride in layers]))


IMAGE_TOWERS: dict[str, ImageTowerRecord] = {
    "efficientnet-lite0": ImageTowerRecord(partial(EfficientNetLite, "lite0"), ("efficientnet-lite0",)),
    "efficientnet-lite1": ImageTowerRecord(partial(EfficientNetLite, "lite1"), ("efficientnet-lite1",)),
    "efficientnet-lite2": ImageTowerRecord(partial(EfficientNetLite, "lite2"), ("efficientnet-lite2",)),
    "efficientnet-lite2+yolox-nano": ImageTowerRecord(_lite2_and_yolox, ("efficientnet-lite2", "yolox-nano")),
    "dinov2-small": ImageTowerRecord(partial(Dinov2, "small"), ("dinov2-small",)),
    "dinov2-base": ImageTowerRecord(partial(Dinov2, "base"), ("dinov2-base",)),
    "dinov2-large": ImageTowerRecord(partial(Dinov2, "large"), ("dinov2-large",)),
    "dinov2-small-saliency": ImageTowerRecord(partial(Dinov2, "small"), ("dinov2-small-saliency",)),
    "clip-vit-base-patch16": ImageTowerRecord(partial(ClipVision, "base-patch16"), ("clip-vit-base-patch16",)),
    "clip-vit-base-patch32": ImageTowerRecord(partial(ClipVision, "base-patch32"), ("clip-vit-base-patch32",)),
    "clipseg-rd64-refined": ImageTowerRecord(partial(ClipVision, "base-patch16"), ("clipseg-rd64-refined",)),
    "vit-base-patch16-384": ImageTowerRecord(Vit, None),
    "clip-test": ImageTowerRecord(partial(ClipVision, "test"), ()),
    "dinov2-test": ImageTowerRecord(partial(Dinov2, "test"), ()),
    "conv-test": ImageTowerRecord(TinyConv, ()),
}

TEXT_TOWERS: dict[str, TextTowerRecord] = {
    "minilm-l6": TextTowerRecord(MiniLM, ("minilm-l6",)),
    "clip-vit-base-patch16": TextTowerRecord(ClipText, ("clip-vit-base-patch16",)),
    "clip-vit-base-patch32": TextTowerRecord(ClipText, ("clip-vit-base-patch32",)),
    "clipseg-rd64-refined": TextTowerRecord(ClipText, ("clipseg-rd64-refined",)),
    "clip-text-test": TextTowerRecord(partial(ClipText, "test"), ()),
    "bytes-test": TextTowerRecord(TinyText, ()),
}


def build_image_tower(name: str, layers: Sequence[Layer]) -> ImageTower:
    """Build an image tower with random weights; a test tower, which has no others, always gets the same.

    Args:
        name: A row of `IMAGE_TOWERS`.
        layers: What to take from it: strides of a convolutional tower, blocks of a transformer.

    Raises:
        UnknownModelError: no tower of that name.
        ValueError: the tower has no such layers.
    """
    record = _find(IMAGE_TOWERS, name, "image tower")
    with _fixed_seed(wanted=record.weights == ()):
        return record.build(layers)


def build_text_tower(name: str) -> TextTower:
    """Build a text tower with random weights; a test tower, which has no others, always gets the same.

    Args:
        name: A row of `TEXT_TOWERS`.

    Raises:
        UnknownModelError: no tower of that name.
    """
    record = _find(TEXT_TOWERS, name, "text tower")
    with _fixed_seed(wanted=not record.weights):
        return record.build()


def load_tower(
    tower: ImageTower | TextTower,
    name: str,
    *,
    offline: bool = False,
    progress: weights.ReportProgress | None = None,
) -> None:
    """Read the pretrained weights of a tower, fetching them the first time; a test tower has none and stays random.

    Args:
        tower: What `build_image_tower` or `build_text_tower` gave for `name`; changed in place.
        name: Its row.
        offline: Don't use the network.
        progress: Told (name, bytes here, bytes in all) while weights are fetched.

    Raises:
        WeightsError: weights can't be fetched, or don't fit.
    """
    if names := tower_weights(name):
        tower.load_weights(*(weights.resolve(weight, offline=offline, progress=progress) for weight in names))


def load_vocabulary(tower: TextTower, *, offline: bool = False, progress: weights.ReportProgress | None = None) -> None:
    """Read the vocabulary alone, for a text tower whose weights come from a checkpoint; changed in place.

    Raises:
        WeightsError: the vocabulary can't be fetched.
    """
    if isinstance(tower, ClipText):
        tower.load_tokenizer(weights.resolve("clip-tokenizer", offline=offline, progress=progress))


def tower_weights(name: str) -> tuple[str, ...]:
    """Name the pretrained weights that a tower is made of.

    Raises:
        UnknownModelError: no tower of that name.
        WeightsError: there is no verified copy of its weights.
    """
    records: dict[str, ImageTowerRecord | TextTowerRecord] = {**IMAGE_TOWERS, **TEXT_TOWERS}
    names = _find(records, name, "tower").weights
    if names is None:
        raise WeightsError(
            f"no public copy of the weights of {name} could be verified; build the tower, call its load_weights with a "
            'directory that transformers loads, and use a config with towers="stored"'
        )
    return names


@contextmanager
def _fixed_seed(*, wanted: bool) -> Iterator[None]:
    """Draw the same weights every time: a test tower has no published ones, so its random ones must be known."""
    if not wanted:
        yield
        return
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        yield


def _find(table: Mapping[str, Record], name: str, noun: str) -> Record:
    if name not in table:
        near = difflib.get_close_matches(name, table, n=3, cutoff=0.4) or sorted(table)
        raise UnknownModelError(f"no {noun} is named {name!r}; near ones: {', '.join(near)}")
    return table[name]
