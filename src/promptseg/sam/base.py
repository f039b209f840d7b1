"""The contract of a promptable segmenter: points, boxes and coarse masks in, the mask of one object each out."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from promptseg.errors import DataError
from promptseg.segmenter import Arrays

# Certainly outside: the logits of SAM's decoders rarely go lower.
OUTSIDE_LOGIT = -10.0

MaskChoice = Literal["single", "levels"]

# Begins the names of the arrays of a SamEmbedding, so that they differ from those of other parts of an encoded image.
PREFIX = "sam."
_FRAME = f"{PREFIX}frame"


@dataclass(frozen=True)
class Frame:
    """Where an image lies in the canvas that is encoded: scaled, its top left corner at the canvas's.

    Attributes:
        original_hw: Size of the image, pixels.
        canvas_hw: Size of the canvas, pixels.
        scale_xy: Canvas pixels per image pixel, (x, y).
    """

    original_hw: tuple[int, int]
    canvas_hw: tuple[int, int]
    scale_xy: tuple[float, float]

    @property
    def map_hw(self) -> tuple[int, int]:
        """The image's size in mask maps, whose sides are a quarter of the canvas's."""
        height, width = self.original_hw
        scale_x, scale_y = self.scale_xy
        return max(1, round(height * scale_y / 4)), max(1, round(width * scale_x / 4))

    def points_to_canvas(self, points_xy: NDArray[np.floating]) -> NDArray[np.float32]:
        """Bring points (..., 2) from image pixels to canvas pixels."""
        return np.asarray(points_xy, np.float32) * np.array(self.scale_xy, np.float32)

    def maps_to_image(self, maps: NDArray[np.float32], size_hw: tuple[int, int] | None = None) -> NDArray[np.float32]:
        """Bring maps (..., h, w) that cover the canvas to ones that cover the image, bilinearly.

        Args:
            maps: Any float maps.
            size_hw: Resolution of the result; None is the image's own.
        """
        size_hw = size_hw or self.original_hw
        step_y, step_x = (
            scale * maps.shape[-2 + axis] / self.canvas_hw[axis] * self.original_hw[axis] / size_hw[axis]
            for axis, scale in enumerate(self.scale_xy[::-1])
        )
        return _resample(maps, size_hw, (step_y, step_x))

    def maps_to_canvas(self, maps: NDArray[np.float32], size_hw: tuple[int, int]) -> NDArray[np.float32]:
        """Bring logits (..., h', w') that cover the image, at any resolution, to (..., h, w) over the canvas.

        Args:
            maps: Logits; what lies outside the image becomes OUTSIDE_LOGIT.
            size_hw: (h, w).
        """
        step_y, step_x = (
            self.canvas_hw[axis] / size_hw[axis] / scale * maps.shape[-2 + axis] / self.original_hw[axis]
            for axis, scale in enumerate(self.scale_xy[::-1])
        )
        placed = _resample(maps, size_hw, (step_y, step_x))
        placed[..., math.ceil(maps.shape[-2] / step_y) :, :] = OUTSIDE_LOGIT
        placed[..., :, math.ceil(maps.shape[-1] / step_x) :] = OUTSIDE_LOGIT
        return placed


@dataclass(frozen=True, eq=False)
class SamEmbedding:
    """An encoded image.

    Attributes:
        features: Maps of the model's own, the coarsest first, each (1, C, h, w), float32, or float16 to save memory.
        frame: How the image lies in the canvas that was encoded.
    """

    features: tuple[NDArray[np.floating], ...]
    frame: Frame

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width of the image, pixels."""
        return self.frame.original_hw

    def in_half_precision(self) -> "SamEmbedding":
        """Give the same with features in float16."""
        return SamEmbedding(tuple(each.astype(np.float16) for each in self.features), self.frame)

    def to_arrays(self) -> Arrays:
        """Give the parts as named arrays, each with first dimension 1; all names begin with `PREFIX`."""
        frame = self.frame
        numbers = np.array([[*frame.original_hw, *frame.canvas_hw, *frame.scale_xy]], dtype=np.float64)
        return {**{f"{PREFIX}{index}": each for index, each in enumerate(self.features)}, _FRAME: numbers}

    @staticmethod
    def is_among(arrays: Mapping[str, NDArray[Any]]) -> bool:
        """Whether an embedding's arrays are among others."""
        return _FRAME in arrays

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> "SamEmbedding":
        """Make the embedding again that gave its arrays by `to_arrays`; other arrays may be among them.

        Raises:
            DataError: An array is missing.
        """
        own = {name.removeprefix(PREFIX): each for name, each in arrays.items() if name.startswith(PREFIX)}
        num_features = len(own) - 1
        missing = {"frame", *(str(index) for index in range(max(num_features, 1)))} - own.keys()
        if missing:
            names = ", ".join(sorted(PREFIX + name for name in missing))
            raise DataError(f"not the encoded image of a SAM: {names} is missing; encode the image again")
        height, width, canvas_height, canvas_width, scale_x, scale_y = own["frame"][0].tolist()
        frame = Frame((int(height), int(width)), (int(canvas_height), int(canvas_width)), (scale_x, scale_y))
        return cls(tuple(own[str(index)] for index in range(num_features)), frame)


@dataclass(frozen=True, eq=False)
class SamOutput:
    """Masks of N prompts, K candidates each.

    Attributes:
        mask_logits: (N, K, h, w), float32, over the canvas of `frame`; above 0 means object.
        scores: (N, K), float32, the model's estimate of each mask's IoU, about 0 to 1.
        frame: How the image lies in the canvas.
    """

    mask_logits: NDArray[np.float32]
    scores: NDArray[np.float32]
    frame: Frame

    def image_logits(self) -> NDArray[np.float32]:
        """Give the mask logits (N, K, H, W) at the image's own size."""
        return self.frame.maps_to_image(self.mask_logits)

    def best(self) -> "SamOutput":
        """Keep the best scored candidate of each prompt (K = 1)."""
        index = self.scores.argmax(axis=1)
        prompts = np.arange(len(index))
        return SamOutput(self.mask_logits[prompts, index, None], self.scores[prompts, index, None], self.frame)


class PromptableSegmenter(Protocol):
    """A model that masks the object of points, a box or a coarse mask. Threads may share it."""

    def frame(self, size_hw: tuple[int, int]) -> Frame:
        """Say where an image of a size, pixels, lies in the canvas that is encoded."""
        ...

    def encode(self, image_rgb: NDArray[np.uint8]) -> SamEmbedding:
        """Encode an image once, for any number of prompts.

        Args:
            image_rgb: (H, W, 3) uint8.
        """
        ...

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
        """Mask the objects of N prompts; at least points or boxes are given.

        Args:
            embedding: Returned by `encode`.
            points_xy: (N, P, 2), image pixels.
            point_labels: (N, P): 1 on the object, 0 beside it, -1 fills up prompts with fewer points and counts for
                nothing.
            boxes_xyxy: (N, 4), image pixels.
            mask_logits: Coarse masks (N, h, w) over the canvas, h and w a quarter of its sides; `Frame.maps_to_canvas`
                makes them.
            choice: "single": one mask (good for a box or several points); "levels": several nested candidates
                such as part, whole, group (good for one point): SAM gives three for each kind of prompt.

        Raises:
            PromptError: Nothing to segment, NaN, a box without area or outside the image, a point outside.
        """
        ...


def place_in_square(input_side: int, original_hw: tuple[int, int]) -> Frame:
    """Place an image in the top left corner of a square that its longer side fills."""
    scale = input_side / max(original_hw)
    return Frame(original_hw, (input_side, input_side), (scale, scale))


def _resample(
    maps: NDArray[np.float32], size_hw: tuple[int, int], steps_yx: tuple[float, float]
) -> NDArray[np.float32]:
    # in this thread: a product of matrices would leave threads spinning, which slow a compiled decoder down
    rows_first = _resample_rows(maps, size_hw[0], steps_yx[0])
    resampled = _resample_rows(np.ascontiguousarray(rows_first.swapaxes(-1, -2)), size_hw[1], steps_yx[1])
    return np.ascontiguousarray(resampled.swapaxes(-1, -2))


def _resample_rows(maps: NDArray[np.float32], num_out: int, step: float) -> NDArray[np.float32]:
    """Resample maps (..., h, w) to (..., num_out, w)."""
    indexes, weights = _sampling(num_out, maps.shape[-2], step)
    resampled = np.zeros((*maps.shape[:-2], num_out, maps.shape[-1]), dtype=np.float32)
    for index, weight in zip(indexes.T, weights.T, strict=True):
        resampled += maps[..., index, :] * weight[:, None]
    return resampled


@lru_cache(maxsize=64)
def _sampling(num_out: int, num_in: int, step: float) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Give the K input pixels of each output pixel, and their weights: two arrays (num_out, K).

    Output pixel i looks at (i + 0.5) * step; edges are repeated. Where an output pixel covers several input pixels
    (step > 1) the sampling widens, so that nothing is skipped.
    """
    reach = max(step, 1.0)
    centers = ((np.arange(num_out) + 0.5) * step).clip(0.5, num_in - 0.5)
    first = np.ceil(centers - reach - 0.5).astype(np.int64)
    indexes = first[:, None] + np.arange(math.ceil(2 * reach) + 1)
    weights = (1 - np.abs(centers[:, None] - indexes - 0.5) / reach).clip(min=0)
    weights[(indexes < 0) | (indexes >= num_in)] = 0
    weights /= weights.sum(axis=1, keepdims=True)
    used = weights.any(axis=0)
    return indexes.clip(0, num_in - 1)[:, used], weights[:, used].astype(np.float32)
