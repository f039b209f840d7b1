"""Images of plain rectangles, and a SAM and a segmenter that understand them exactly."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from small_maskers import encode_as_it_is
from torch.nn.functional import adaptive_avg_pool2d

from promptseg.ops.resize import sigmoid
from promptseg.prompts import Query
from promptseg.results import Instance
from promptseg.sam.base import MaskChoice, SamEmbedding, SamOutput
from promptseg.segmenter import Arrays, Prediction

COLORS = {"red": 0, "green": 1, "blue": 2}


class ColorMasker:
    """A SAM that masks what is connected to a point and has its color; edges are exact to a quarter pixel."""

    def encode(self, image_rgb: NDArray[np.uint8]) -> SamEmbedding:
        return encode_as_it_is(image_rgb)

    def segment(
        self,
        embedding: SamEmbedding,
        *,
        points_xy: NDArray[np.floating] | None = None,
        point_labels: NDArray[Any] | None = None,
        boxes_xyxy: NDArray[np.floating] | None = None,
        mask_logits: NDArray[np.floating] | None = None,
        choice: MaskChoice = "single",
    ) -> SamOutput:
        assert points_xy is not None and choice == "levels"
        pixels = embedding.features[0][0].transpose(1, 2, 0)
        masks = []
        for x, y in points_xy[:, 0].tolist():
            labels, _ = ndimage.label((pixels == pixels[int(y), int(x)]).all(axis=2))
            masks.append(labels == labels[int(y), int(x)])
        logits = np.stack(masks).astype(np.float32) * 20 - 10
        scores = np.array([[0.5, 0.95, 0.6]], dtype=np.float32).repeat(len(masks), axis=0)
        return SamOutput(logits[:, None].repeat(3, axis=1), scores, embedding.frame)


@dataclass(frozen=True, eq=False)
class EncodedColors:
    """An image as `ColorSegmenter` sees it: the mean color of each cell in [0, 1], shape (1, 3, h, w)."""

    size_hw: tuple[int, int]
    color: NDArray[Any]

    def to_arrays(self) -> Arrays:
        return {"color": self.color}


class ColorSegmenter:
    """Finds "red", "green" and "blue": a smooth function of each pixel's color, at a quarter of the resolution.

    As networks do, it sees large images coarsely: never more than 64 cells on a side.

    Args:
        tells_apart: Whether it names objects: the connected parts.
    """

    prompt_kinds = frozenset({"text", "point"})
    mask_threshold = 0.5
    presence_threshold = 0.5

    def __init__(self, *, tells_apart: bool = False) -> None:
        self.tells_apart = tells_apart

    def encode_image(self, image_rgb: NDArray[np.uint8]) -> EncodedColors:
        cell = max(4, -(-max(image_rgb.shape[:2]) // 64))
        rows, columns = (max(1, side // cell) for side in image_rgb.shape[:2])
        pixels = torch.from_numpy(image_rgb.copy()).permute(2, 0, 1)[None].float()
        color = adaptive_avg_pool2d(pixels, (rows, columns)).numpy() / np.float32(255)
        return EncodedColors((image_rgb.shape[0], image_rgb.shape[1]), color)

    def encode_part(self, image_rgb: NDArray[np.uint8], *, compact: bool) -> EncodedColors:
        whole = self.encode_image(image_rgb)
        return EncodedColors(whole.size_hw, whole.color.astype(np.float16)) if compact else whole

    def restore_image(self, arrays: Mapping[str, NDArray[Any]], image_rgb: NDArray[np.uint8]) -> EncodedColors:
        return EncodedColors((image_rgb.shape[0], image_rgb.shape[1]), arrays["color"])

    def segment(self, image: EncodedColors, queries: Sequence[Query]) -> Prediction:
        color = image.color[0].astype(np.float32)
        logits = np.stack(
            [20 * (color[COLORS[query.label]] - 0.75 * color.sum(axis=0).clip(min=0.5)) for query in queries]
        )
        presence = sigmoid(logits.max(axis=(1, 2)))
        objects = tuple(self._objects(one, image.size_hw) for one in logits) if self.tells_apart else None
        return Prediction(logits, presence, presence / 2, objects)

    def _objects(self, logits: NDArray[np.float32], size_hw: tuple[int, int]) -> tuple[Instance, ...]:
        scale = [size / side for size, side in zip(size_hw, logits.shape, strict=True)]
        enlarged = ndimage.zoom((logits > 0).astype(np.uint8), scale, order=0).astype(bool)
        labels, count = ndimage.label(enlarged)
        return tuple(Instance.from_mask(labels == index, 0.8) for index in range(1, count + 1))


def image(*shapes: tuple[tuple[int, int, int, int], str], size_hw: tuple[int, int] = (300, 420)) -> NDArray[np.uint8]:
    painted = np.full((*size_hw, 3), 40, dtype=np.uint8)
    for (x0, y0, x1, y1), color in shapes:
        painted[y0:y1, x0:x1] = 0
        painted[y0:y1, x0:x1, COLORS[color]] = 255
    return painted
