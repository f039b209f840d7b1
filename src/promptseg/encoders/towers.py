"""Build and load the towers that a model's config names."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import torch

from promptseg import weights
from promptseg.encoders.base import ImageTower, TextTower
from promptseg.encoders.clip_text import ClipText
from promptseg.encoders.clip_vision import ClipVision
from promptseg.encoders.convnext_clip import ConvNextClip
from promptseg.encoders.dinov2 import Dinov2
from promptseg.encoders.efficientnet_lite import EfficientNetLite
from promptseg.encoders.minilm import MiniLM
from promptseg.encoders.paired import PairedTower
from promptseg.encoders.tiny import TinyConv, TinyText
from promptseg.encoders.tower_facts import Layer, image_tower_facts, text_tower_facts, tower_weights
from promptseg.encoders.vit import Vit
from promptseg.encoders.yolox import STRIDES, YoloxNano


def _lite2_and_yolox(layers: Sequence[Layer]) -> ImageTower:
    """Pair EfficientNet-Lite2 (features, 1000 names of ImageNet) with YOLOX-Nano (detections, 80 names of COCO)."""
    return PairedTower(EfficientNetLite("lite2", layers), YoloxNano([stride for stride in STRIDES if stride in layers]))


IMAGE_TOWERS: dict[str, Callable[[Sequence[Layer]], ImageTower]] = {
    "efficientnet-lite0": partial(EfficientNetLite, "lite0"),
    "efficientnet-lite1": partial(EfficientNetLite, "lite1"),
    "efficientnet-lite2": partial(EfficientNetLite, "lite2"),
    "efficientnet-lite2+yolox-nano": _lite2_and_yolox,
    "dinov2-small": partial(Dinov2, "small"),
    "dinov2-base": partial(Dinov2, "base"),
    "dinov2-large": partial(Dinov2, "large"),
    "dinov2-small-saliency": partial(Dinov2, "small"),
    "clip-vit-base-patch16": partial(ClipVision, "base-patch16"),
    "clip-vit-base-patch32": partial(ClipVision, "base-patch32"),
    "clipseg-rd64-refined": partial(ClipVision, "base-patch16"),
    "vit-base-patch16-384": Vit,
    "clip-convnext-large-d-320": partial(ConvNextClip, "large-d-320"),
    "clip-test": partial(ClipVision, "test"),
    "clip-convnext-test": partial(ConvNextClip, "test"),
    "dinov2-test": partial(Dinov2, "test"),
    "conv-test": TinyConv,
}

TEXT_TOWERS: dict[str, Callable[[], TextTower]] = {
    "minilm-l6": MiniLM,
    "clip-vit-base-patch16": ClipText,
    "clip-vit-base-patch32": ClipText,
    "clipseg-rd64-refined": ClipText,
    "clip-convnext-large-d-320": partial(ClipText, "convnext-large"),
    "clip-text-test": partial(ClipText, "test"),
    "bytes-test": TinyText,
}


def build_image_tower(name: str, layers: Sequence[Layer]) -> ImageTower:
    """Build an image tower with random weights; those of a test tower are always the same.

    Args:
        name: Name of a row of `IMAGE_TOWERS`.
        layers: Layers to return: strides of a convolutional tower, blocks of a transformer.

    Raises:
        UnknownModelError: There is no tower of that name.
        ValueError: The tower has no such layers.
    """
    facts = image_tower_facts(name)
    with _fixed_seed(wanted=facts.weights == ()):
        return IMAGE_TOWERS[name](layers)


def build_text_tower(name: str) -> TextTower:
    """Build a text tower with random weights; those of a test tower are always the same.

    Args:
        name: Name of a row of `TEXT_TOWERS`.

    Raises:
        UnknownModelError: There is no tower of that name.
    """
    facts = text_tower_facts(name)
    with _fixed_seed(wanted=facts.weights == ()):
        return TEXT_TOWERS[name]()


def load_tower(
    tower: ImageTower | TextTower,
    name: str,
    *,
    offline: bool = False,
    progress: weights.ReportProgress | None = None,
) -> None:
    """Load the pretrained weights of a tower, fetched on first use; a test tower has none and stays random.

    Args:
        tower: Result of `build_image_tower` or `build_text_tower` for `name`; changed in place.
        name: Name of the tower's row.
        offline: Don't access the network.
        progress: Called with (name, bytes fetched, total bytes) while weights are fetched.

    Raises:
        UnknownModelError: There is no tower of that name.
        WeightsError: Weights can't be fetched, or don't fit.
    """
    if names := tower_weights(name):
        tower.load_weights(*(weights.resolve(weight, offline=offline, progress=progress) for weight in names))


def load_vocabulary(tower: TextTower, *, offline: bool = False, progress: weights.ReportProgress | None = None) -> None:
    """Load the vocabulary alone into a text tower whose weights come from a checkpoint; the tower changes in place.

    Args:
        tower: The text tower; only CLIP's has a vocabulary apart from its weights.
        offline: Don't access the network.
        progress: Called with (name, bytes fetched, total bytes) while the vocabulary is fetched.

    Raises:
        WeightsError: The vocabulary can't be fetched.
    """
    if isinstance(tower, ClipText):
        tower.load_tokenizer(weights.resolve("clip-tokenizer", offline=offline, progress=progress))


@contextmanager
def _fixed_seed(*, wanted: bool) -> Iterator[None]:
    """Fix the random seed within the block if wanted: test towers without published weights must be reproducible."""
    if not wanted:
        yield
        return
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        yield
