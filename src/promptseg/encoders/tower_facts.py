"""Properties of the towers that are known without building them. Nothing here imports torch."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeVar

from promptseg.errors import UnknownModelError, WeightsError
from promptseg.language.class_names import COCO_THINGS

Layer = int | str
Channels = tuple[float, float, float]
TokenizerKind = Literal["wordpiece", "clip", "bytes"]

IMAGENET_MEAN: Channels = (0.485, 0.456, 0.406)
IMAGENET_STD: Channels = (0.229, 0.224, 0.225)
CLIP_MEAN: Channels = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD: Channels = (0.26862954, 0.26130258, 0.27577711)
LITE_MEAN: Channels = (127 / 255, 127 / 255, 127 / 255)
LITE_STD: Channels = (128 / 255, 128 / 255, 128 / 255)


@dataclass(frozen=True)
class ImageTowerFacts:
    """Facts of an image tower.

    Attributes:
        weights: Names of its pretrained weights. Empty: a test tower. None: no public copy of its weights could be
            verified, so the user must provide them.
        multiple: Height and width of the input must be multiples of this.
        mean: Mean per channel that is subtracted from RGB in [0, 1].
        std: Deviation per channel that the difference is divided by.
        detected_names: Names of the V classes that it detects; empty: none.
    """

    weights: tuple[str, ...] | None
    multiple: int
    mean: Channels = IMAGENET_MEAN
    std: Channels = IMAGENET_STD
    detected_names: tuple[str, ...] = ()


@dataclass(frozen=True)
class TextTowerFacts:
    """Facts of a text tower.

    Attributes:
        weights: As in `ImageTowerFacts`.
        tokenizer: Kind of its tokenizer.
        max_tokens: Maximum number of tokens, special tokens included.
    """

    weights: tuple[str, ...] | None
    tokenizer: TokenizerKind
    max_tokens: int


def _lite(name: str) -> ImageTowerFacts:
    return ImageTowerFacts((name,), 32, LITE_MEAN, LITE_STD)


IMAGE_TOWER_FACTS: dict[str, ImageTowerFacts] = {
    "efficientnet-lite0": _lite("efficientnet-lite0"),
    "efficientnet-lite1": _lite("efficientnet-lite1"),
    "efficientnet-lite2": _lite("efficientnet-lite2"),
    "efficientnet-lite2+yolox-nano": ImageTowerFacts(
        ("efficientnet-lite2", "yolox-nano"), 32, LITE_MEAN, LITE_STD, COCO_THINGS
    ),
    "dinov2-small": ImageTowerFacts(("dinov2-small",), 14),
    "dinov2-base": ImageTowerFacts(("dinov2-base",), 14),
    "dinov2-large": ImageTowerFacts(("dinov2-large",), 14),
    "dinov2-small-saliency": ImageTowerFacts(("dinov2-small-saliency",), 14),
    "clip-vit-base-patch16": ImageTowerFacts(("clip-vit-base-patch16",), 16, CLIP_MEAN, CLIP_STD),
    "clip-vit-base-patch32": ImageTowerFacts(("clip-vit-base-patch32",), 32, CLIP_MEAN, CLIP_STD),
    "clipseg-rd64-refined": ImageTowerFacts(("clipseg-rd64-refined",), 16, CLIP_MEAN, CLIP_STD),
    "vit-base-patch16-384": ImageTowerFacts(None, 16),
    "clip-convnext-large-d-320": ImageTowerFacts(None, 32, CLIP_MEAN, CLIP_STD),
    "clip-test": ImageTowerFacts((), 16, CLIP_MEAN, CLIP_STD),
    "clip-convnext-test": ImageTowerFacts((), 32, CLIP_MEAN, CLIP_STD),
    "dinov2-test": ImageTowerFacts((), 14),
    "conv-test": ImageTowerFacts((), 32),
}

TEXT_TOWER_FACTS: dict[str, TextTowerFacts] = {
    "minilm-l6": TextTowerFacts(("minilm-l6",), "wordpiece", 64),
    "clip-vit-base-patch16": TextTowerFacts(("clip-vit-base-patch16",), "clip", 77),
    "clip-vit-base-patch32": TextTowerFacts(("clip-vit-base-patch32",), "clip", 77),
    "clipseg-rd64-refined": TextTowerFacts(("clipseg-rd64-refined",), "clip", 77),
    "clip-convnext-large-d-320": TextTowerFacts(None, "clip", 77),
    "clip-text-test": TextTowerFacts((), "clip", 77),
    "bytes-test": TextTowerFacts((), "bytes", 48),
}

Facts = TypeVar("Facts")


def image_tower_facts(name: str) -> ImageTowerFacts:
    """Look up an image tower by its name.

    Raises:
        UnknownModelError: There is no tower of that name; the message lists similar names.
    """
    return _find(IMAGE_TOWER_FACTS, name, "image tower")


def text_tower_facts(name: str) -> TextTowerFacts:
    """Look up a text tower by its name.

    Raises:
        UnknownModelError: There is no tower of that name; the message lists similar names.
    """
    return _find(TEXT_TOWER_FACTS, name, "text tower")


def tower_weights(name: str) -> tuple[str, ...]:
    """Name the pretrained weights of a tower.

    Raises:
        UnknownModelError: There is no tower of that name.
        WeightsError: There is no verified copy of its weights.
    """
    records: dict[str, ImageTowerFacts | TextTowerFacts] = {**IMAGE_TOWER_FACTS, **TEXT_TOWER_FACTS}
    names = _find(records, name, "tower").weights
    if names is None:
        raise WeightsError(
            f"no public copy of the weights of {name} could be verified; build the tower, call its load_weights with "
            'the published file or directory, and use a config with towers="stored"'
        )
    return names


def _find(table: Mapping[str, Facts], name: str, noun: str) -> Facts:
    if name not in table:
        near = difflib.get_close_matches(name, table, n=3, cutoff=0.4) or sorted(table)
        raise UnknownModelError(f"no {noun} is named {name!r}; similar names: {', '.join(near)}")
    return table[name]
