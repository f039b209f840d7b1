"""YOLO-World v2 as a detector.

Its published weights are under AGPL-3.0: they are loaded only by name, and then the license is logged. The network is
our own, so only the use of the weights falls under it.

Source:
    Cheng et al. 2024, arXiv:2401.17270. Differs: an image's longer side becomes 640 pixels, resized by Pillow's
    bilinear filter and padded at the right and below.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor

from promptseg.detectors.base import Detections, Thresholds, collect_best, take_array
from promptseg.detectors.name_vectors import NameTable, PhraseVectors
from promptseg.detectors.pixels import resize_rgb
from promptseg.detectors.yolo_world_net import STRIDES, Layout, YoloWorldNet
from promptseg.encoders.base import TextTower
from promptseg.errors import CheckpointError
from promptseg.segmenter import Arrays
from promptseg.weights.convert.yolo_world import NAME_VECTORS, NAMES_FILE, WEIGHTS_FILE, read_yolo_world

logger = logging.getLogger(__name__)

THRESHOLDS = Thresholds(box=0.15)  # best on a held-out calibration set
INPUT_SIDE = 640
PADDING_GRAY = 114 / 255
MAX_IOU = 0.7
LEVEL = "detector.stride{}"
FRAME = "detector.frame"
LICENCE = (
    "the weights of YOLO-World are under AGPL-3.0: what you build on them, a service too, may have to be published"
)


@dataclass(frozen=True, eq=False)
class EncodedLevels:
    """An image's maps.

    Attributes:
        size_hw: Of the image, pixels.
        maps: Of strides 8, 16 and 32, float32, each (1, C, h, w).
        scale_xy: Pixels of the network's input per pixel of the image.
    """

    size_hw: tuple[int, int]
    maps: tuple[NDArray[np.float32], ...]
    scale_xy: tuple[float, float]

    def to_arrays(self) -> Arrays:
        """Give the parts as named arrays."""
        levels = {LEVEL.format(stride): each for stride, each in zip(STRIDES, self.maps, strict=True)}
        return {**levels, FRAME: np.array([self.scale_xy], np.float32)}


class YoloWorld:
    """A detector; see `detectors.base.Detector` for its methods.

    A cell goes to the phrase that it resembles most, and phrases guide the network: those of one request compete.

    Args:
        network: With its weights, in evaluation mode.
        phrases: From phrases to vectors.
        input_side: What the image's longer side becomes, pixels; trained with 640.
    """

    thresholds = THRESHOLDS
    presence_threshold = THRESHOLDS.box  # a phrase is there when it has a box

    def __init__(self, network: YoloWorldNet, phrases: PhraseVectors, *, input_side: int = INPUT_SIDE) -> None:
        self.network = network.eval().requires_grad_(False)
        self.phrases = phrases
        self.input_side = input_side

    @torch.inference_mode()
    def encode_image(self, image_rgb: NDArray[np.uint8]) -> EncodedLevels:
        """Encode an image, uint8 (H, W, 3): maps of strides 8, 16 and 32."""
        height, width, _ = image_rgb.shape
        scale = self.input_side / max(height, width)
        scaled_hw = (max(1, round(height * scale)), max(1, round(width * scale)))
        pixels = torch.from_numpy(resize_rgb(image_rgb, scaled_hw).copy()).permute(2, 0, 1)[None].float() / 255
        padded = F.pad(pixels, (0, -scaled_hw[1] % 32, 0, -scaled_hw[0] % 32), value=PADDING_GRAY)
        maps = self.network.encode(padded.to(self._device()))
        scale_xy = (scaled_hw[1] / width, scaled_hw[0] / height)
        return EncodedLevels((height, width), tuple(each.float().cpu().numpy() for each in maps), scale_xy)

    def restore_image(self, arrays: Mapping[str, NDArray[Any]], image_rgb: NDArray[np.uint8]) -> EncodedLevels:
        """Make the record again; arguments and errors as `detectors.base.Detector.restore_image`."""
        maps = tuple(take_array(arrays, LEVEL.format(stride)) for stride in STRIDES)
        scale_x, scale_y = take_array(arrays, FRAME)[0].tolist()
        return EncodedLevels((image_rgb.shape[0], image_rgb.shape[1]), maps, (scale_x, scale_y))

    @torch.inference_mode()
    def detect(self, image: EncodedLevels, phrases: Sequence[str], thresholds: Thresholds | None = None) -> Detections:
        """Detect phrases in an encoded image; arguments and errors as `detectors.base.Detector.detect`."""
        texts = self.phrases.embed(phrases).to(self._device())
        maps = (torch.tensor(each, device=self._device()) for each in image.maps)
        boxes, logits = (one[0].float().cpu().numpy() for one in self.network(*maps, texts))
        boxes = boxes / np.tile(np.array(image.scale_xy, np.float32), 2)
        least_score = (thresholds or THRESHOLDS).box
        return collect_best(boxes, logits, image.size_hw, least_score=least_score, max_iou=MAX_IOU)

    def _device(self) -> torch.device:
        return next(self.network.parameters()).device


def load_yolo_world(
    path: Path, device: str, tables: Sequence[NameTable] = (), tower: TextTower | None = None
) -> YoloWorld:
    """Load YOLO-World v2, and log the license of its weights.

    Args:
        path: A .pt file as published, of any size, or a directory that the conversion `yolo-world` wrote.
        device: Where it runs.
        tables: Vectors of more names than the checkpoint's own.
        tower: For phrases in no table, or None.

    Raises:
        CheckpointError: The weights do not fit.
        WeightsError: The file is no YOLO-World v2.
    """
    if path.is_dir():
        tensors = load_file(path / WEIGHTS_FILE)
        names = json.loads((path / NAMES_FILE).read_text(encoding="utf-8"))
    else:
        tensors, names = read_yolo_world(path)
    own = NameTable(tuple(names), tensors.pop(NAME_VECTORS))
    try:
        network = YoloWorldNet(read_layout(tensors))
        network.load_state_dict(tensors)
    except (KeyError, RuntimeError) as error:
        raise CheckpointError(f"{path}: not a YOLO-World v2 of a known size: {error}") from error
    logger.warning("%s", LICENCE)
    return YoloWorld(network.to(device), PhraseVectors([own, *tables], tower))


def read_layout(tensors: Mapping[str, Tensor]) -> Layout:
    """Read the size off the shapes of the tensors.

    Raises:
        KeyError: A layer is missing.
    """
    w2, w4, w8, w16, w32 = (tensors[f"layers.{number}.weight"].shape[0] for number in (0, 1, 3, 5, 7))
    depth = sum(name.startswith("layers.2.blocks.") and name.endswith(".first.weight") for name in tensors)
    return Layout((w2, w4, w8, w16, w32), depth)
