"""What the points, boxes and masks of a query say about one image, and the objects that they ask a masker for."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from promptseg.errors import OutsideImageError
from promptseg.ops.components import tight_box
from promptseg.ops.inner_points import inner_points
from promptseg.prompts import BoxPrompt, MaskPrompt, PointPrompt, Query
from promptseg.sam.base import Frame
from promptseg.sam.prompt_batching import ObjectPrompt

POINTING_KINDS = frozenset({"point", "box", "mask"})
# A scribble is looked at in cells, so many along the image's longer side.
SCRIBBLE_CELLS = 256
# A mask is a scribble where it is at most so thick (share of the longer side), and so many times longer than thick.
SCRIBBLE_THICKNESS = 0.03
SCRIBBLE_LENGTH = 6.0
# One point for so much of a scribble's length (share of the longer side).
POINT_SPACING = 0.06
MIN_POINTS, MAX_POINTS = 2, 8
# How sure a rough mask is of its inside, in logits.
ROUGH_LOGIT = 4.0

Box = tuple[float, float, float, float]


@dataclass(frozen=True, eq=False)
class Pointing:
    """The points, boxes and masks of one query, in image pixels.

    Attributes:
        points_xy: Shape (P, 2).
        on_object: Which of them lie on the object, bool, shape (P,).
        boxes_xyxy: Cut to the image.
        masks: Rough masks, and masks of earlier answers; scribbles are among the points.
    """

    points_xy: NDArray[np.float64]
    on_object: NDArray[np.bool_]
    boxes_xyxy: tuple[Box, ...] = ()
    masks: tuple[MaskPrompt, ...] = ()

    @property
    def shows_something(self) -> bool:
        """Whether anything of it says where the object is, not only where it is not."""
        return bool(self.on_object.any()) or bool(self.boxes_xyxy) or bool(self.masks)

    @property
    def negatives_xy(self) -> NDArray[np.float64]:
        """Points that are not on the object, shape (K, 2)."""
        return self.points_xy[~self.on_object]

    def coarse_logits(self, map_hw: tuple[int, int]) -> Tensor | None:
        """The masks together, as logits of shape (h, w); above 0 means object. None where there is no mask."""
        if not self.masks:
            return None
        return torch.stack([_mask_logits(mask, map_hw) for mask in self.masks]).amax(0)


def read_pointing(query: Query, size_hw: tuple[int, int]) -> Pointing | None:
    """Gather what a query points with; None where it has no points, boxes or masks.

    Args:
        query: Its other prompts are not looked at.
        size_hw: Of the image.

    Raises:
        OutsideImageError: A point or box is outside the image, or a mask is of another size.
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
    return Pointing(
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


def pointed_objects(pointing: Pointing, frame: Frame) -> list[ObjectPrompt]:
    """Say which objects are pointed at, without any words.

    Each box is an object, and points inside it belong to it. The other points on the object and the masks are one more.
    Points beside the object are told to all.

    Returns:
        None at all where only points beside the object are given.
    """
    objects = []
    free = pointing.on_object.copy()
    for box_xyxy in pointing.boxes_xyxy:
        inside = inside_box(pointing.points_xy, box_xyxy)
        objects.append(with_points(pointing, inside & pointing.on_object, box_xyxy=box_xyxy))
        free &= ~inside
    coarse = pointing.coarse_logits(frame.map_hw)
    if coarse is not None:
        objects.append(prompt_with_mask(coarse, pointing, free, frame))
    elif free.any():
        objects.append(with_points(pointing, free))
    return objects


def prompt_with_mask(
    coarse: Tensor, pointing: Pointing, own: NDArray[np.bool_], frame: Frame, *, box_xyxy: Box | None = None
) -> ObjectPrompt:
    """Ask for the object of a coarse mask; where nothing else shows it, its box and a point inside are told too.

    Args:
        coarse: Logits, shape `frame.map_hw`, above 0 somewhere.
        pointing: Whose points beside the object are told.
        own: Which of its points lie on this object, bool, shape (P,).
        frame: Of the image.
        box_xyxy: Around the object, image pixels.
    """
    to_image = np.array(frame.original_hw[::-1]) / frame.map_hw[::-1]
    if own.any() or box_xyxy is not None:
        return with_points(pointing, own, box_xyxy=box_xyxy, mask_logits=coarse)
    inside = (coarse > 0).numpy()
    negatives_xy = pointing.negatives_xy
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
    """Say which points lie in a box, its edge included: bool, shape (P,)."""
    left, top, right, bottom = box_xyxy
    return np.asarray(((points_xy >= (left, top)) & (points_xy <= (right, bottom))).all(axis=1))


def with_points(
    pointing: Pointing, own: NDArray[np.bool_], *, box_xyxy: Box | None = None, mask_logits: Tensor | None = None
) -> ObjectPrompt:
    """Ask for the object that some of the points lie on; points beside the object are told too.

    Args:
        pointing: All points.
        own: Which of them lie on this object, bool, shape (P,).
        box_xyxy: As `ObjectPrompt`.
        mask_logits: As `ObjectPrompt`.
    """
    told = own | ~pointing.on_object
    return ObjectPrompt(pointing.points_xy[told], pointing.on_object[told], box_xyxy, mask_logits)


def _mask_logits(prompt: MaskPrompt, map_hw: tuple[int, int]) -> Tensor:
    if prompt.logits is not None:
        known = F.interpolate(torch.from_numpy(prompt.logits.copy())[None, None], map_hw, mode="bilinear")[0, 0]
        if bool((known > 0).any()):
            return known
    share = F.interpolate(torch.from_numpy(prompt.mask.astype(np.float32))[None, None], map_hw, mode="area")[0, 0]
    # Also a mask that is smaller than a cell of the map is one.
    return ROUGH_LOGIT * (2 * share / share.amax() - 1)


def _cut_box(box_xyxy: Box, label: str, size_hw: tuple[int, int]) -> Box:
    height, width = size_hw
    x0, y0, x1, y1 = box_xyxy
    if x0 >= width or y0 >= height or x1 <= 0 or y1 <= 0:
        raise OutsideImageError(
            f"the box ({x0:g}, {y0:g}, {x1:g}, {y1:g}) of {label!r} is outside the image, {width}x{height}"
        )
    return max(x0, 0.0), max(y0, 0.0), min(x1, float(width)), min(y1, float(height))
