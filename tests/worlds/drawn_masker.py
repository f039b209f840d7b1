"""A SAM that knows the objects of its image, for tests of its prompts and of what becomes of its masks."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from small_maskers import encode_as_it_is

from promptseg.ops.masks import mask_iou
from promptseg.sam.base import Frame, MaskChoice, SamEmbedding, SamOutput
from promptseg.sam.prompt_checks import check_prompts

Mask = NDArray[np.bool_]
SIZE_HW = (96, 128)


def rectangle(x0: int, y0: int, x1: int, y1: int, size_hw: tuple[int, int] = SIZE_HW) -> Mask:
    """Edges at multiples of 4 survive a quarter of the resolution."""
    mask = np.zeros(size_hw, dtype=np.bool_)
    mask[y0:y1, x0:x1] = True
    return mask


def same(a: Mask, b: Mask) -> bool:
    """Whether two masks agree, but for the corners that interpolation rounds off."""
    return mask_iou(a, b) > 0.95


class DrawnMasker:
    """Answers with the object that prompts fit best; where none fits, with a square of 16 pixels around a point.

    Of one point's three candidates the object itself scores best, then the square, then everything.
    """

    def __init__(self, objects: Sequence[Mask]) -> None:
        self.objects = list(objects)
        self.size_hw = self.objects[0].shape
        self.calls: list[tuple[int, str]] = []  # number of prompts and choice
        self.num_encoded = 0

    def frame(self, size_hw: tuple[int, int]) -> Frame:
        return Frame(size_hw, size_hw, (1.0, 1.0))

    def encode(self, image_rgb: NDArray[np.uint8]) -> SamEmbedding:
        self.num_encoded += 1
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
        frame = embedding.frame
        num_prompts = check_prompts(frame.original_hw, points_xy, point_labels, boxes_xyxy)
        self.calls.append((num_prompts, choice))
        masks = []
        for index in range(num_prompts):
            points = (
                []
                if points_xy is None or point_labels is None
                else [*zip(points_xy[index].tolist(), point_labels[index].tolist(), strict=True)]
            )
            box = None if boxes_xyxy is None else boxes_xyxy[index].round().astype(int).tolist()
            mask = None if mask_logits is None else (mask_logits[index] > 0).repeat(4, 0).repeat(4, 1)
            fits = [self._fit(each, points, box, mask) for each in self.objects]
            around = np.zeros(self.size_hw, dtype=np.bool_)
            if points:
                x, y = (int(value) // 4 * 4 for value in points[0][0])
                around[max(y - 8, 0) : y + 8, max(x - 8, 0) : x + 8] = True
            best = self.objects[int(np.argmax(fits))] if max(fits) > 0 else around
            masks.append([best] if choice == "single" else [around, best, np.any(self.objects, axis=0)])
        cells = np.array(masks)[:, :, 2::4, 2::4].astype(np.float32)
        scores = np.array([[0.8]] if choice == "single" else [[0.6, 0.9, 0.3]], dtype=np.float32)
        return SamOutput(cells * 12 - 6, scores.repeat(num_prompts, axis=0), frame)

    @staticmethod
    def _fit(
        known: Mask, points: Sequence[tuple[list[float], float]], box: list[int] | None, mask: Mask | None
    ) -> float:
        fit = 0.0
        for (x, y), label in points:
            inside = known[min(int(y), known.shape[0] - 1), min(int(x), known.shape[1] - 1)]
            fit += (2.0 if label else -4.0) * inside
        if box is not None:
            fit += mask_iou(known, rectangle(*box, known.shape))
        if mask is not None:
            fit += mask_iou(known, mask)
        return fit
