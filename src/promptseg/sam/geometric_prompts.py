"""The points, boxes and masks of one query on one image, and the prompts of the objects that they mean."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from promptseg.errors import OutsideImageError
from promptseg.ops.masks import inner_points, tight_box
from promptseg.ops.resize import resize_map
from promptseg.prompts import BoxPrompt, MaskPrompt, PointPrompt, Query
from promptseg.sam.base import Frame
from promptseg.sam.prompt_batching import ObjectPrompt

GEOMETRIC_KINDS = frozenset({"point", "box", "mask"})
# A scribble is examined in cells, so many along the image's longer side.
SCRIBBLE_CELLS = 256
# A mask is a scribble where it is at most so thick (share of the longer side), and so many times longer than thick.
SCRIBBLE_THICKNESS = 0.03
SCRIBBLE_LENGTH = 6.0
# One point for so much of a scribble's length (share of the longer side).
POINT_SPACING = 0.06
MIN_POINTS, MAX_POINTS = 2, 8
# Logit of the inside of a rough mask.
ROUGH_LOGIT = 4.0
# A box may reach so far beyond the image, pixels.
ROUNDING = 1.0

Box = tuple[float, float, float, float]


@dataclass(frozen=True, eq=False)
class GeometricPrompts:
    """The points, boxes and masks of one query, in image pixels.

    Attributes:
        points_xy: Shape (P, 2).
        on_object: Which of them lie on the object, bool, shape (P,).
        boxes_xyxy: Cut to the image.
        masks: Rough masks, and masks of earlier results; a scribble is among the points.
    """

    points_xy: NDArray[np.float64]
    on_object: NDArray[np.bool_]
    boxes_xyxy: tuple[Box, ...] = ()
    masks: tuple[MaskPrompt, ...] = ()

    @property
    def has_positive(self) -> bool:
        """Whether any prompt lies on the object, so that not all are points beside it."""
        return bool(self.on_object.any()) or bool(self.boxes_xyxy) or bool(self.masks)

    @property
    def negatives_xy(self) -> NDArray[np.float64]:
        """Points that are not on the object, shape (K, 2)."""
        return self.points_xy[~self.on_object]

    def coarse_logits(self, map_hw: tuple[int, int]) -> NDArray[np.float32] | None:
        """Join the masks, as logits of shape (h, w); above 0 means object. None where there is no mask."""
        if not self.masks:
            return None
        return np.maximum.reduce([_mask_logits(mask, map_hw) for mask in self.masks])


def read_geometric_prompts(query: Query, size_hw: tuple[int, int]) -> GeometricPrompts | None:
    """Gather the points, boxes and masks of a query; None where it has none.

    Args:
        query: Its other prompts are ignored.
        size_hw: Of the image.

    Raises:
        OutsideImageError: A point is outside the image, or a box by more than a pixel; or a mask is of another size.
    """
    height, width = size_hw
    points: list[tuple[float, float]] = []
    on_object: list[bool] = []
    boxes, masks = [], []
    for prompt in query.prompts:
        match prompt:
            case PointPrompt():
                points += prompt.points_xy
                on_object += prompt.on_object or ()
            case BoxPrompt(box_xyxy=box_xyxy):
                boxes.append(_cut_box(box_xyxy, query.label, size_hw))
            case MaskPrompt(mask=mask):
                if mask.shape != size_hw:
                    raise OutsideImageError(
                        f"the mask of {query.label!r} is {mask.shape[1]}x{mask.shape[0]} pixels, "
                        f"the image {width}x{height}"
                    )
                line = None if prompt.logits is not None else scribble_points(mask)
                if line is None:
                    masks.append(prompt)
                else:
                    points += line
                    on_object += [True] * len(line)
    for x, y in points:
        if not (0 <= x <= width and 0 <= y <= height):
            raise OutsideImageError(
                f"the point ({x:g}, {y:g}) of {query.label!r} is outside the image, {width}x{height}"
            )
    if not (points or boxes or masks):
        return None
    return GeometricPrompts(
        np.array(points, dtype=np.float64).reshape(-1, 2),
        np.array(on_object, dtype=np.bool_),
        tuple(boxes),
        tuple(masks),
    )


def scribble_points(mask: NDArray[np.bool_]) -> list[tuple[float, float]] | None:
    """Spread points along a scribble.

    Args:
        mask: bool, shape (H, W), not empty.

    Returns:
        Centers of pixels of the mask; None where it is too thick, or too short for its thickness, to be a scribble.
    """
    rows, columns = np.nonzero(mask)
    cell = max(max(mask.shape) / SCRIBBLE_CELLS, 1.0)
    cells = np.zeros([int((length - 1) / cell) + 1 for length in mask.shape], dtype=np.bool_)
    cells[(rows / cell).astype(int), (columns / cell).astype(int)] = True
    left, top, right, bottom = tight_box(cells)
    cells = cells[top:bottom, left:right]
    # here and not above: it takes 0.3 s to import, and most requests do without
    from scipy import ndimage

    depth = ndimage.distance_transform_edt(np.pad(cells, 1))[1:-1, 1:-1]
    # The mean depth of a strip is a quarter of its thickness; the rest is because cells have a size.
    thickness = max(4 * float(depth[cells].mean()) - 3, 1.0)
    longer_side = max(mask.shape) / cell
    length = int(cells.sum()) / thickness
    if thickness > SCRIBBLE_THICKNESS * longer_side or length < SCRIBBLE_LENGTH * thickness:
        return None
    num_points = int(np.clip(round(length / (POINT_SPACING * longer_side)), MIN_POINTS, MAX_POINTS))
    centers_xy = np.stack([columns, rows], axis=1) + 0.5
    points = (inner_points(cells, num_points) + np.array((left, top))) * cell
    nearest = [int(np.argmin(np.square(centers_xy - point).sum(axis=1))) for point in points]
    return [(float(x), float(y)) for x, y in centers_xy[nearest]]


def object_prompts(prompts: GeometricPrompts, frame: Frame) -> list[ObjectPrompt]:
    """Give one prompt for each object that is meant, without any phrase.

    Each box is an object, and points inside it belong to it. The other points on the object and the masks are one more.
    Points beside the object are in the prompts of all.

    Returns:
        None where only points beside the object are given.
    """
    objects = []
    free = prompts.on_object.copy()
    for box_xyxy in prompts.boxes_xyxy:
        inside = inside_box(prompts.points_xy, box_xyxy)
        objects.append(with_points(prompts, inside & prompts.on_object, box_xyxy=box_xyxy))
        free &= ~inside
    coarse = prompts.coarse_logits(frame.map_hw)
    if coarse is not None:
        objects.append(prompt_with_mask(coarse, prompts, free, frame))
    elif free.any():
        objects.append(with_points(prompts, free))
    return objects


def prompt_with_mask(
    coarse: NDArray[np.float32],
    prompts: GeometricPrompts,
    own: NDArray[np.bool_],
    frame: Frame,
    *,
    box_xyxy: Box | None = None,
) -> ObjectPrompt:
    """Make the prompt for the object of a coarse mask; without own points or box, its box and a point inside are added.

    Args:
        coarse: Logits, shape `frame.map_hw`, above 0 somewhere.
        prompts: Its points beside the object are added.
        own: Which of its points lie on this object, bool, shape (P,).
        frame: Of the image.
        box_xyxy: Around the object, image pixels.
    """
    to_image = np.array(frame.original_hw[::-1]) / frame.map_hw[::-1]
    if own.any() or box_xyxy is not None:
        return with_points(prompts, own, box_xyxy=box_xyxy, mask_logits=coarse)
    inside = coarse > 0
    negatives_xy = prompts.negatives_xy
    found = inner_points(inside, 1, away_from_xy=negatives_xy / to_image if len(negatives_xy) else None) * to_image
    if not len(negatives_xy):
        left, top, right, bottom = (np.array(tight_box(inside)) * np.tile(to_image, 2)).tolist()
        box_xyxy = (left, top, right, bottom)
    return ObjectPrompt(
        np.concatenate([found, negatives_xy]),
        np.array([True] + [False] * len(negatives_xy)),
        box_xyxy,
        coarse,
    )


def inside_box(points_xy: NDArray[np.float64], box_xyxy: Box) -> NDArray[np.bool_]:
    """Find the points in a box, its edge included: bool, shape (P,)."""
    left, top, right, bottom = box_xyxy
    return np.asarray(((points_xy >= (left, top)) & (points_xy <= (right, bottom))).all(axis=1))


def with_points(
    prompts: GeometricPrompts,
    own: NDArray[np.bool_],
    *,
    box_xyxy: Box | None = None,
    mask_logits: NDArray[np.float32] | None = None,
) -> ObjectPrompt:
    """Make the prompt for the object that some of the points lie on; points beside the object are added.

    Args:
        prompts: All points.
        own: Which of them lie on this object, bool, shape (P,).
        box_xyxy: As `ObjectPrompt`.
        mask_logits: As `ObjectPrompt`.
    """
    used = own | ~prompts.on_object
    return ObjectPrompt(prompts.points_xy[used], prompts.on_object[used], box_xyxy, mask_logits)


def _mask_logits(prompt: MaskPrompt, map_hw: tuple[int, int]) -> NDArray[np.float32]:
    if prompt.logits is not None:
        known = resize_map(prompt.logits, map_hw)
        if (known > 0).any():
            return known
    share = _average_rows(_average_rows(prompt.mask, map_hw[0]).T, map_hw[1]).T
    # A mask that is smaller than a cell of the map counts too: the largest share is always inside.
    return (ROUGH_LOGIT * (2 * share / share.max() - 1)).astype(np.float32)


def _average_rows(values: NDArray[Any], num_out: int) -> NDArray[np.float64]:
    """Average all rows that a cell touches, shape (H, W), to shape (num_out, W)."""
    num_in = len(values)
    sums = np.concatenate([np.zeros((1, values.shape[1])), np.cumsum(values, axis=0, dtype=np.float64)])
    cells = np.arange(num_out)
    first, last = cells * num_in // num_out, -(-(cells + 1) * num_in // num_out)
    return (sums[last] - sums[first]) / (last - first)[:, None]


def _cut_box(box_xyxy: Box, label: str, size_hw: tuple[int, int]) -> Box:
    """Cut a box to the image; what reaches beyond it by up to a pixel is taken as rounding."""
    height, width = size_hw
    x0, y0, x1, y1 = box_xyxy
    shown = f"the box ({x0:g}, {y0:g}, {x1:g}, {y1:g}) of {label!r}"
    if x0 >= width or y0 >= height or x1 <= 0 or y1 <= 0:
        raise OutsideImageError(f"{shown} is outside the image, {width}x{height}")
    if min(x0, y0) < -ROUNDING or x1 > width + ROUNDING or y1 > height + ROUNDING:
        raise OutsideImageError(
            f"{shown} is partly outside the image, {width}x{height}: give pixels of this image, (left, top, right, "
            "bottom), or cut the box to it"
        )
    return max(x0, 0.0), max(y0, 0.0), min(x1, float(width)), min(y1, float(height))
