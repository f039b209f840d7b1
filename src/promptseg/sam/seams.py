"""Objects of overlapping tiles joined: one that a seam cuts is one object, not two halves."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from promptseg.ops.boxes import pairwise_box_iou
from promptseg.ops.masks import mask_iou
from promptseg.ops.windows import Window, shared_window
from promptseg.results import Instance
from promptseg.sam.overlap import mask_in, place_mask, rank_instance

# Where two tiles overlap, two pieces of one object look alike: IoU there. At 0.5 a cup with its saucer in one tile went
# on as the saucer alone in the next, and ended at the seam.
MIN_AGREEMENT = 0.75
# A box that comes so near to a seam, as a share of its tile's longer side, is that of a cut object.
NEAR_SEAM = 0.02


@dataclass(frozen=True, eq=False)
class Piece:
    """What a tile shows of an object.

    Attributes:
        instance: In the image.
        tile_xyxy: The tile, pixels of the image.
    """

    instance: Instance
    tile_xyxy: Window


@dataclass(frozen=True, eq=False)
class Joined:
    """An object put together.

    Attributes:
        instance: In the image; its scores are those of its best piece.
        best: Index of that piece.
        view_xyxy: The part of the image that its tiles cover.
    """

    instance: Instance
    best: int
    view_xyxy: Window


def is_cut(box_xyxy: Window, view_xyxy: Window, size_hw: tuple[int, int], *, tolerance: float) -> tuple[bool, ...]:
    """Find the sides (left, top, right, bottom) on which a box comes near to an edge of its view, but not of the image.

    Args:
        box_xyxy: Pixels of the image.
        view_xyxy: Likewise.
        size_hw: Height and width of the image.
        tolerance: How near, pixels.
    """
    image_xyxy = (0, 0, size_hw[1], size_hw[0])
    return tuple(
        abs(box - view) <= tolerance < abs(box - image)
        for box, view, image in zip(box_xyxy, view_xyxy, image_xyxy, strict=True)
    )


def join_pieces(pieces: Sequence[Piece]) -> list[Joined]:
    """Put the pieces of objects together.

    Two pieces of overlapping tiles are of one object where they look alike in what both tiles see. An object that one
    of the tiles shows whole is taken from there; else its pieces are stitched. A piece that is cut, with nothing on the
    other side of the seam to go on with, is dropped: it is no object.

    Args:
        pieces: Of any tiles of one image.

    Returns:
        One for each object, in the order of their first pieces.
    """
    cuts = [
        is_cut(
            piece.instance.box_xyxy,
            piece.tile_xyxy,
            piece.instance.size_hw,
            tolerance=NEAR_SEAM * max(piece.tile_xyxy[2] - piece.tile_xyxy[0], piece.tile_xyxy[3] - piece.tile_xyxy[1]),
        )
        for piece in pieces
    ]
    group_of = list(range(len(pieces)))
    for first, second in _same_objects(pieces, cuts):
        kept, gone = sorted((group_of[first], group_of[second]))
        group_of = [kept if group == gone else group for group in group_of]
    joined = []
    for group in dict.fromkeys(group_of):
        members = [index for index, its_group in enumerate(group_of) if its_group == group]
        whole = [index for index in members if not any(cuts[index])]
        best = max(whole or members, key=lambda index: rank_instance(pieces[index].instance))
        if whole:
            joined.append(Joined(pieces[best].instance, best, pieces[best].tile_xyxy))
        elif _goes_on([pieces[index] for index in members], [cuts[index] for index in members]):
            own = [pieces[index] for index in members]
            stitched = _stitch(own, pieces[best].instance)
            if stitched is not None:
                joined.append(Joined(stitched, best, _hull([piece.tile_xyxy for piece in own])))
    return joined


def _same_objects(pieces: Sequence[Piece], cuts: Sequence[tuple[bool, ...]]) -> list[tuple[int, int]]:
    """Pair pieces of one object, each with at most one of every other tile; one of a pair at least is cut."""
    by_tile: dict[Window, list[int]] = {}
    for index, piece in enumerate(pieces):
        by_tile.setdefault(piece.tile_xyxy, []).append(index)
    pairs = []
    for tile, other in combinations(by_tile, 2):
        seen_by_both = shared_window(tile, other)
        if seen_by_both is None:
            continue
        ours, theirs = by_tile[tile], by_tile[other]
        # Masks that agree have boxes that do, nearly: this spares the look at most of them.
        box_agreement = pairwise_box_iou(*(_boxes_in(pieces, some, seen_by_both) for some in (ours, theirs)))
        alike = []
        for row, column in np.argwhere(box_agreement >= MIN_AGREEMENT / 2).tolist():
            first, second = ours[row], theirs[column]
            if any(cuts[first]) or any(cuts[second]):
                masks = (mask_in(pieces[index].instance, seen_by_both) for index in (first, second))
                alike.append((mask_iou(*masks), first, second))
        taken: set[int] = set()
        for agreement, first, second in sorted(alike, reverse=True):
            if agreement >= MIN_AGREEMENT and not taken & {first, second}:
                taken |= {first, second}
                pairs.append((first, second))
    return pairs


def _boxes_in(pieces: Sequence[Piece], indexes: Sequence[int], window: Window) -> np.ndarray:
    """Clip boxes to a window, shape (N, 4); one that lies outside has no area."""
    boxes = np.array([pieces[index].instance.box_xyxy for index in indexes])
    return np.stack([boxes[:, i].clip(window[i % 2], window[i % 2 + 2]) for i in range(4)], axis=1)


def _goes_on(pieces: Sequence[Piece], cuts: Sequence[tuple[bool, ...]]) -> bool:
    """Whether behind every cut of a piece another piece's tile goes on."""
    # Outwards is less for left and top, more for right and bottom.
    outwards = np.array([-1, -1, 1, 1]) * np.array([piece.tile_xyxy for piece in pieces])
    furthest = outwards.max(axis=0)
    return not bool((np.array(cuts) & (outwards == furthest)).any())


def _stitch(pieces: Sequence[Piece], best: Instance) -> Instance | None:
    """Make one mask of pieces, scored as the best; the tile that reaches furthest around a pixel decides it."""
    size_hw = pieces[0].instance.size_hw
    hull = _hull([piece.instance.box_xyxy for piece in pieces])
    stitched = np.zeros((hull[3] - hull[1], hull[2] - hull[0]), dtype=np.bool_)
    deepest = np.zeros(stitched.shape, dtype=np.int32)
    for piece in pieces:
        shown = shared_window(piece.tile_xyxy, hull)
        assert shown is not None  # the tile holds a piece
        across, down = (_depth(piece.tile_xyxy, shown, axis, size_hw[1 - axis]) for axis in (0, 1))
        depth = np.minimum(down[:, None], across[None])
        place = np.s_[shown[1] - hull[1] : shown[3] - hull[1], shown[0] - hull[0] : shown[2] - hull[0]]
        deeper = depth > deepest[place]
        stitched[place] = np.where(deeper, mask_in(piece.instance, shown), stitched[place])
        deepest[place] = np.maximum(depth, deepest[place])
    return place_mask(stitched, hull, size_hw, score=best.score, mask_quality=best.mask_quality)


def _depth(tile_xyxy: Window, shown: Window, axis: int, length: int) -> NDArray[np.int32]:
    """Measure how far the pixels of a window are inside a tile along one axis; an edge of the image does not count."""
    start, stop = tile_xyxy[axis], tile_xyxy[axis + 2]
    pixels = np.arange(shown[axis], shown[axis + 2], dtype=np.int32)
    before = np.full_like(pixels, length) if start == 0 else pixels - start + 1
    after = np.full_like(pixels, length) if stop == length else stop - pixels
    return np.minimum(before, after)


def _hull(windows: Sequence[Window]) -> Window:
    corners = np.array(windows)
    left, top = corners[:, :2].min(axis=0).tolist()
    right, bottom = corners[:, 2:].max(axis=0).tolist()
    return left, top, right, bottom
