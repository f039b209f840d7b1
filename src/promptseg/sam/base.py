"""What a promptable masker is: points, boxes and coarse masks in, masks of one object each out."""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

from promptseg.errors import OutsideImageError, PromptError

# A logit that says "surely not here"; the maskers' own logits rarely go below.
OUTSIDE_LOGIT = -10.0

MaskChoice = Literal["single", "levels"]
MASK_CHOICES: tuple[MaskChoice, ...] = ("single", "levels")


@dataclass(frozen=True)
class Frame:
    """Where an image lies in the canvas that a masker sees: scaled, its top left corner at the canvas's.

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
        """The image's size in a masker's maps, which have a quarter of the canvas's sides."""
        height, width = self.original_hw
        scale_x, scale_y = self.scale_xy
        return max(1, round(height * scale_y / 4)), max(1, round(width * scale_x / 4))

    def points_to_canvas(self, points_xy: Tensor) -> Tensor:
        """Bring points (..., 2) from image pixels to canvas pixels."""
        return points_xy * torch.tensor(self.scale_xy, dtype=points_xy.dtype)

    def maps_to_image(self, maps: Tensor, size_hw: tuple[int, int] | None = None) -> Tensor:
        """Bring maps (..., h, w) that cover the canvas to ones that cover the image, bilinearly.

        Args:
            maps: Any float maps.
            size_hw: Resolution to give them; None is the image's own.
        """
        size_hw = size_hw or self.original_hw
        step_y, step_x = (
            scale * maps.shape[-2 + axis] / self.canvas_hw[axis] * self.original_hw[axis] / size_hw[axis]
            for axis, scale in enumerate(self.scale_xy[::-1])
        )
        return _resample(maps, size_hw, (step_y, step_x))

    def maps_to_canvas(self, maps: Tensor, size_hw: tuple[int, int]) -> Tensor:
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


@dataclass(frozen=True)
class MaskerEmbedding:
    """An encoded image.

    Attributes:
        features: Maps of the masker's own, the coarsest first, each (1, C, h, w).
        frame: How the image lies in the canvas that was encoded.
    """

    features: tuple[Tensor, ...]
    frame: Frame


@dataclass(frozen=True)
class MaskerOutput:
    """Masks of N prompts, K candidates each.

    Attributes:
        mask_logits: (N, K, h, w) over the canvas of `frame`; above 0 means object.
        scores: (N, K), the masker's own estimate of each mask's IoU, about 0 to 1.
        frame: How the image lies in the canvas.
    """

    mask_logits: Tensor
    scores: Tensor
    frame: Frame

    def image_logits(self) -> Tensor:
        """Mask logits (N, K, H, W) at the image's own size."""
        return self.frame.maps_to_image(self.mask_logits)

    def best(self) -> "MaskerOutput":
        """Keep the best scored candidate of each prompt (K = 1)."""
        index = self.scores.argmax(dim=1)
        prompts = torch.arange(len(index))
        return MaskerOutput(self.mask_logits[prompts, index, None], self.scores[prompts, index, None], self.frame)


class Masker(Protocol):
    """A model that masks what points, a box or a coarse mask point at."""

    def encode(self, image_rgb: NDArray[np.uint8]) -> MaskerEmbedding:
        """Encode an image once, for any number of prompts.

        Args:
            image_rgb: (H, W, 3) uint8.
        """

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
        """Mask what N prompts point at; at least points or boxes are given.

        Args:
            embedding: What `encode` returned.
            points_xy: (N, P, 2), image pixels.
            point_labels: (N, P): 1 on the object, 0 beside it, -1 fills up prompts with fewer points.
            boxes_xyxy: (N, 4), image pixels.
            mask_logits: Coarse masks (N, h, w) over the canvas, h and w a quarter of its sides; `Frame.maps_to_canvas`
                makes them.
            choice: "single": one mask (good for a box or several points); "levels": three nested candidates
                such as part, whole, group (good for one point).

        Raises:
            PromptError: Nothing to segment, NaN, a box without area or outside the image, a point outside.
        """


def check_prompts(
    original_hw: tuple[int, int], points_xy: Tensor | None, point_labels: Tensor | None, boxes_xyxy: Tensor | None
) -> int:
    """Count the prompts, and refuse those that mean nothing.

    Returns:
        N, the number of prompts.

    Raises:
        PromptError: As `Masker.segment` says; the message names the first bad prompt.
    """
    if (points_xy is None) != (point_labels is None):
        raise PromptError("points_xy and point_labels come together")
    if points_xy is None and boxes_xyxy is None:
        raise PromptError("a masker needs points or a box")
    if points_xy is not None and point_labels is not None:
        _check_points(original_hw, points_xy, point_labels)
    if boxes_xyxy is not None:
        _check_boxes(original_hw, boxes_xyxy)
    if points_xy is not None and boxes_xyxy is not None and len(points_xy) != len(boxes_xyxy):
        raise PromptError(f"{len(points_xy)} sets of points but {len(boxes_xyxy)} boxes")
    given = boxes_xyxy if points_xy is None else points_xy
    assert given is not None
    return len(given)


def _check_points(original_hw: tuple[int, int], points_xy: Tensor, point_labels: Tensor) -> None:
    if points_xy.ndim != 3 or points_xy.shape[2] != 2 or point_labels.shape != points_xy.shape[:2]:
        raise PromptError(
            f"points_xy must be (N, P, 2) with point_labels (N, P), got {tuple(points_xy.shape)}, "
            f"{tuple(point_labels.shape)}"
        )
    if not bool(torch.isin(point_labels, torch.tensor([-1, 0, 1])).all()):
        raise PromptError("a point label is 1 (on the object), 0 (beside it) or -1 (no point)")
    height, width = original_hw
    # Written so that NaN counts as outside.
    inside = (points_xy >= 0).all(2) & (points_xy[..., 0] <= width) & (points_xy[..., 1] <= height)
    outside = ~inside & (point_labels >= 0)
    if bool(outside.any()):
        prompt, point = outside.nonzero()[0].tolist()
        x, y = points_xy[prompt, point].tolist()
        raise OutsideImageError(
            f"point ({x:g}, {y:g}) of prompt {prompt} is outside the image, {width}x{height} pixels"
        )


def _check_boxes(original_hw: tuple[int, int], boxes_xyxy: Tensor) -> None:
    if boxes_xyxy.ndim != 2 or boxes_xyxy.shape[1] != 4:
        raise PromptError(f"boxes_xyxy must be (N, 4), got {tuple(boxes_xyxy.shape)}")
    height, width = original_hw
    for index, (x0, y0, x1, y1) in enumerate(boxes_xyxy.tolist()):
        named = f"box ({x0:g}, {y0:g}, {x1:g}, {y1:g}) of prompt {index}"
        if not np.isfinite([x0, y0, x1, y1]).all():
            raise PromptError(f"{named} is not finite")
        if x1 <= x0 or y1 <= y0:
            raise PromptError(f"{named} has no area")
        if x0 >= width or y0 >= height or x1 <= 0 or y1 <= 0:
            raise OutsideImageError(f"{named} is outside the image, {width}x{height} pixels")


def _resample(maps: Tensor, size_hw: tuple[int, int], steps_yx: tuple[float, float]) -> Tensor:
    # Sparse, in this thread: a dense product leaves threads spinning, which slow a compiled decoder down.
    rows, columns = (_sampling_matrix(size_hw[axis], maps.shape[-2 + axis], steps_yx[axis]) for axis in range(2))
    resampled = np.empty((*maps.shape[:-2], *size_hw), dtype=np.float32)
    for index in np.ndindex(maps.shape[:-2]):
        resampled[index] = (columns @ (rows @ maps[index].numpy()).T).T
    return torch.from_numpy(resampled)


@lru_cache(maxsize=64)
def _sampling_matrix(num_out: int, num_in: int, step: float) -> sparse.csr_array:
    """Bilinear sampling as a matrix (num_out, num_in): output pixel i looks at (i + 0.5) * step, edges repeated.

    Where an output pixel covers several input pixels (step > 1) the sampling widens, so that nothing is skipped.
    """
    reach = max(step, 1.0)
    cells = np.arange(num_in) + 0.5
    centers = ((np.arange(num_out) + 0.5) * step).clip(0.5, num_in - 0.5)
    weights = (1 - np.abs(centers[:, None] - cells) / reach).clip(min=0)
    return sparse.csr_array((weights / weights.sum(1, keepdims=True)).astype(np.float32))
