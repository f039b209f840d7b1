"""Images of plain rectangles, and a masker and a segmenter that understand them exactly."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from small_maskers import encode_as_it_is
from torch import Tensor

from promptseg.prompts import Query
from promptseg.results import Instance
from promptseg.sam.base import MaskChoice, MaskerEmbedding, MaskerOutput
from promptseg.segmenter import Features, Prediction

COLORS = {"red": 0, "green": 1, "blue": 2}


class ColorMasker:
    """Masks what is connected to a point and has its color; edges lie where they are drawn, to a quarter pixel."""

    def encode(self, image_rgb: NDArray[np.uint8]) -> MaskerEmbedding:
        return encode_as_it_is(image_rgb)

    def segment(
        self,
        embedding: MaskerEmbedding,
        *,
        points_xy: Tensor | None = None,
        point_labels: Tensor | None = None,
        boxes_xyxy: Tensor | None = None,
        mask_logits: Tensor | None = None,
        choice: MaskChoice = "single",
    ) -> MaskerOutput:
        assert points_xy is not None and choice == "levels"
        pixels = embedding.features[0][0].permute(1, 2, 0).numpy()
        masks = []
        for x, y in points_xy[:, 0].tolist():
            labels, _ = ndimage.label((pixels == pixels[int(y), int(x)]).all(axis=2))
            masks.append(labels == labels[int(y), int(x)])
        logits = torch.from_numpy(np.stack(masks)).float() * 20 - 10
        scores = torch.tensor([0.5, 0.95, 0.6]).expand(len(masks), 3)
        return MaskerOutput(logits[:, None].expand(-1, 3, -1, -1), scores, embedding.frame)


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

    def encode_image(self, image_rgb: NDArray[np.uint8]) -> Features:
        cell = max(4, -(-max(image_rgb.shape[:2]) // 64))
        rows, columns = (max(1, side // cell) for side in image_rgb.shape[:2])
        pixels = torch.from_numpy(image_rgb.copy()).permute(2, 0, 1)[None].float()
        return {"color": torch.nn.functional.adaptive_avg_pool2d(pixels, (rows, columns)) / 255}

    def segment(self, features: Features, queries: Sequence[Query], size_hw: tuple[int, int]) -> Prediction:
        (color,) = features["color"]
        logits = torch.stack(
            [20 * (color[COLORS[query.label]] - 0.75 * color.sum(dim=0).clamp(min=0.5)) for query in queries]
        )
        presence = torch.sigmoid(logits.amax(dim=(1, 2)))
        objects = tuple(self._objects(one.numpy(), size_hw) for one in logits) if self.tells_apart else None
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
