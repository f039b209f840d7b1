"""Training batches of masks without names: images, their masks, and a grid of points.

Shapes: B images, N masks of an image, P points, S side of the canvas in pixels.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from promptseg.data.sample import Sample, instance_masks
from promptseg.errors import DataError, ImageError
from promptseg.images import read_image
from promptseg.ops.masks import tight_box
from promptseg.train.batch import move_tensors
from promptseg.train.unpaired.canvas import CanvasView

logger = logging.getLogger(__name__)

# So many images in a row may be unusable; then something is wrong with the data.
MAX_SKIPPED = 20


@dataclass(frozen=True)
class MaskViewSettings:
    """How images, masks and points are made; the defaults are those of the paper and its released configuration.

    Attributes:
        side: Side of the canvas, pixels.
        scale: Least and greatest length of the image's longer side, as multiples of the canvas's.
        flip: Probability of a horizontal flip.
        color_strengths: Of brightness, contrast and saturation.
        points_per_side: Their square is the number of points. Points along each side of the grid.
        points: Where they are: one in each cell of a "grid" over the shown part, as published; or each inside one of
            the "masks", drawn at random, so that small objects have as many points as large ones.
        max_masks: Most masks of an image; more are drawn at random.
        min_area_share: Masks that cover less of the canvas are left out.
        max_area_share: Masks that cover more of the canvas are left out.
        box_prompts: Whether the masks' boxes are prompts too.
    """

    side: int = 1024
    scale: tuple[float, float] = (0.8, 1.2)
    flip: float = 0.5
    color_strengths: tuple[float, float, float] = (0.125, 0.5, 0.5)
    points_per_side: int = 10
    points: Literal["grid", "masks"] = "grid"
    max_masks: int = 40
    min_area_share: float = 1e-4
    max_area_share: float = 0.8
    box_prompts: bool = True


@dataclass(frozen=True)
class MaskItem:
    """One view of an image.

    Attributes:
        sample_id: Name of the image.
        image_rgb: Shape (S, S, 3), uint8.
        masks: Shape (N, S, S), bool; N is at least 1.
        boxes_xyxy_unit: Tight boxes of the masks, as shares of the canvas's sides, shape (N, 4), float32.
        points_xy_unit: Points on the shown part, as shares of the canvas's sides, shape (P, 2), float32.
    """

    sample_id: str
    image_rgb: NDArray[np.uint8]
    masks: NDArray[np.bool_]
    boxes_xyxy_unit: NDArray[np.float32]
    points_xy_unit: NDArray[np.float32]


@dataclass(frozen=True)
class MaskBatch:
    """B views.

    Attributes:
        images_rgb: Shape (B, S, S, 3), uint8.
        masks: Of each image, shape (N, S, S), bool.
        boxes_xyxy_unit: Boxes of each image's masks, shape (N, 4); empty: boxes are no prompts.
        points_xy_unit: Shape (B, P, 2).
        sample_ids: Names of the images.
    """

    images_rgb: Tensor
    masks: tuple[Tensor, ...]
    boxes_xyxy_unit: tuple[Tensor, ...]
    points_xy_unit: Tensor
    sample_ids: tuple[str, ...]

    def to(self, device: torch.device) -> Self:
        """Return the same batch with its tensors on another device."""
        return move_tensors(self, device)


class MaskSource:
    """Views of images with masks; names of the masks are not used.

    An image that can't be read, or that shows no mask of a fitting size, is skipped with a logged warning, and the next
    one is taken.

    Args:
        samples: Images with masks.
        settings: How views are made.
    """

    def __init__(self, samples: Sequence[Sample], settings: MaskViewSettings) -> None:
        self.samples = samples
        self.settings = settings

    def __len__(self) -> int:
        return len(self.samples)

    def item(self, index: int, rng: np.random.Generator) -> MaskItem:
        """Make one view; every random choice comes from `rng`.

        Raises:
            DataError: None of the next `MAX_SKIPPED` images is usable.
        """
        reasons = []
        for step in range(min(MAX_SKIPPED, len(self.samples))):
            position = (index + step) % len(self.samples)
            try:
                return self._view(self.samples[position], rng)
            except (DataError, ImageError) as error:
                logger.warning("skipped: %s", error)
                reasons.append(str(error))
        raise DataError(f"{len(reasons)} images in a row can't be used; the first: {reasons[0]}")

    def collate(self, items: list[MaskItem]) -> MaskBatch:
        """Join views into a batch."""
        boxes = [torch.from_numpy(item.boxes_xyxy_unit) for item in items] if self.settings.box_prompts else []
        return MaskBatch(
            images_rgb=torch.from_numpy(np.stack([item.image_rgb for item in items])),
            masks=tuple(torch.from_numpy(item.masks) for item in items),
            boxes_xyxy_unit=tuple(boxes),
            points_xy_unit=torch.from_numpy(np.stack([item.points_xy_unit for item in items])),
            sample_ids=tuple(item.sample_id for item in items),
        )

    def _view(self, sample: Sample, rng: np.random.Generator) -> MaskItem:
        settings = self.settings
        view = CanvasView.draw(
            sample.size_hw,
            rng,
            side=settings.side,
            scale=settings.scale,
            flip=settings.flip,
            color_strengths=settings.color_strengths,
        )
        masks = [
            placed
            for target in sample.with_evidence("mask")
            for mask in instance_masks(target, sample.size_hw)
            if settings.min_area_share <= (placed := view.place_mask(mask)).mean() <= settings.max_area_share
        ]
        masks = [mask for mask in masks if mask.any()]
        if not masks:
            raise DataError(f"{sample.sample_id}: the view shows no mask of a fitting size")
        if len(masks) > settings.max_masks:
            chosen = rng.choice(len(masks), size=settings.max_masks, replace=False)
            masks = [masks[position] for position in sorted(chosen)]
        image_rgb = read_image(sample.image)
        if image_rgb.shape[:2] != sample.size_hw:
            raise DataError(f"{sample.sample_id}: the image is {image_rgb.shape[:2]}, its annotation {sample.size_hw}")
        boxes = np.array([tight_box(mask) for mask in masks], dtype=np.float32) / np.float32(settings.side)
        rows, columns = view.shown_hw
        shown_xy = np.array([columns, rows]) / settings.side
        if settings.points == "grid":
            points = jittered_grid(settings.points_per_side, rng) * shown_xy
        else:
            points = points_in_masks(masks, settings.points_per_side**2, rng)
        return MaskItem(
            sample.sample_id,
            view.place_image(image_rgb),
            np.stack(masks),
            boxes.astype(np.float32),
            points.astype(np.float32),
        )


def points_in_masks(masks: Sequence[NDArray[np.bool_]], count: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw points, each from the pixels of a random mask: (x, y), as shares of the sides, shape (count, 2).

    Args:
        masks: At least one of shape (H, W), none empty.
        count: Number of points.
        rng: Source of every random choice.
    """
    height, width = masks[0].shape
    pixels = [np.flatnonzero(mask) for mask in masks]
    drawn = np.array([rng.choice(pixels[index]) for index in rng.integers(len(masks), size=count)])
    return (np.stack([drawn % width, drawn // width], axis=1) + 0.5) / (width, height)


def jittered_grid(points_per_side: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw one point in each cell of a grid over the unit square: (x, y), row by row, shape (P, 2)."""
    y, x = np.indices((points_per_side, points_per_side))
    corners = np.stack([x.ravel(), y.ravel()], axis=1)
    return (corners + rng.random(corners.shape)) / points_per_side
