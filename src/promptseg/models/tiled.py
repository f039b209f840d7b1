"""A segmenter for large images: a coarse look at the whole, a close one at overlapping tiles, no seam between."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from promptseg.detectors.box_selection import DETECTIONS
from promptseg.errors import UnsupportedPromptError
from promptseg.models.promptseg.detected_objects import HSV
from promptseg.ops.boxes import box_areas
from promptseg.ops.windows import Tiles, Window
from promptseg.prompts import Query
from promptseg.results import Instance
from promptseg.sam.base import OUTSIDE_LOGIT
from promptseg.sam.overlap import shift_instance, suppress_instances
from promptseg.sam.seams import Piece, join_pieces
from promptseg.segmenter import Features, Prediction, Segmenter

# What these say does not depend on a place in the image, so every tile can be asked.
PROMPT_KINDS = frozenset({"text", "exemplar"})
# How sharply a view is believed or not around the presence threshold, per unit of the presence's logit.
BELIEF_SLOPE = 4.0
# A map of each query is held for the whole image: so many at a time.
QUERY_CHUNK = 16
SAME_OBJECT_IOU = 0.5
SINGLE_THINGS = (f".{DETECTIONS}", f".{HSV}")


class TiledSegmenter:
    """Segment a large image as a whole and in tiles, by another segmenter.

    A tile is believed as far as it finds the thing in itself; where no tile does, the whole counts, so that a tile of
    nothing but sky does not lose the sky. Towards its edges a tile fades into its neighbors. An image that fits in
    one tile gets the other segmenter's own answer.

    Args:
        segmenter: Looks at the whole and at each tile.
        tiles: How images are cut.
    """

    def __init__(self, segmenter: Segmenter, tiles: Tiles) -> None:
        self.segmenter = segmenter
        self.tiles = tiles

    @property
    def prompt_kinds(self) -> frozenset[str]:
        """Kinds of prompt that the segmenter takes and that name no place in the image."""
        return self.segmenter.prompt_kinds & PROMPT_KINDS

    @property
    def mask_threshold(self) -> float:
        """A pixel belongs to a mask from this probability on."""
        return self.segmenter.mask_threshold

    @property
    def presence_threshold(self) -> float:
        """A query counts as found from this presence on."""
        return self.segmenter.presence_threshold

    def encode_image(self, image_rgb: np.ndarray) -> Features:
        """Encode an image, uint8, shape (H, W, 3): the whole, and the tiles, which are kept in half precision."""
        height, width, _ = image_rgb.shape
        features = _prefixed(self.segmenter.encode_image(image_rgb), 0)
        for index, (left, top, right, bottom) in enumerate(self.tiles.windows((height, width)), start=1):
            tile = _prefixed(self.segmenter.encode_image(image_rgb[top:bottom, left:right]), index)
            features |= {name: value.half() if value.dtype == torch.float32 else value for name, value in tile.items()}
        # Things are told apart within one view, and "the leftmost" of a tile is not the image's.
        has_tiles = len(self.tiles.windows((height, width))) > 0
        return {name: value for name, value in features.items() if not (has_tiles and name.endswith(SINGLE_THINGS))}

    @torch.inference_mode()
    def segment(self, features: Features, queries: Sequence[Query], size_hw: tuple[int, int]) -> Prediction:
        """Segment an encoded image of the given original size; N queries give N answers, in order.

        Raises:
            UnsupportedPromptError: A prompt names a place in the image, or the segmenter does not take it.
        """
        for query in queries:
            for prompt in query.prompts:
                if prompt.kind not in self.prompt_kinds:
                    raise UnsupportedPromptError(
                        f"in tiles the model takes {' and '.join(sorted(self.prompt_kinds))} prompts, no "
                        f"{prompt.kind} prompts (query {query.label!r}): ask it without tiles"
                    )
        windows = self.tiles.windows(size_hw)
        if not windows or not queries:
            return self._segment_view(features, 0, queries, size_hw)
        parts = [
            self._segment_chunk(features, queries[start : start + QUERY_CHUNK], size_hw, windows)
            for start in range(0, len(queries), QUERY_CHUNK)
        ]
        return Prediction(
            mask_logits=torch.cat([part.mask_logits for part in parts]),
            presence=torch.cat([part.presence for part in parts]),
            iou=torch.cat([part.iou for part in parts]),
            instances=tuple(objects for part in parts for objects in part.instances or ()),
        )

    def _segment_view(
        self, features: Features, index: int, queries: Sequence[Query], view_hw: tuple[int, int]
    ) -> Prediction:
        prefix = _prefix(index)
        own = {
            name.removeprefix(prefix): value.float() if value.dtype == torch.float16 else value
            for name, value in features.items()
            if name.startswith(prefix)
        }
        prediction = self.segmenter.segment(own, queries, view_hw)
        return Prediction(
            prediction.mask_logits.float().cpu(),
            prediction.presence.float().cpu(),
            prediction.iou.float().cpu(),
            prediction.instances,
        )

    def _segment_chunk(
        self, features: Features, queries: Sequence[Query], size_hw: tuple[int, int], windows: Sequence[Window]
    ) -> Prediction:
        whole = self._segment_view(features, 0, queries, size_hw)
        canvas: _Canvas | None = None
        views = [(whole, (0, 0, size_hw[1], size_hw[0]))]
        for index, window in enumerate(windows, start=1):
            left, top, right, bottom = window
            tile = self._segment_view(features, index, queries, (bottom - top, right - left))
            canvas = canvas or _Canvas(tile.mask_logits, window, size_hw, self.tiles.overlap)
            canvas.add(tile.mask_logits, self._belief(tile.presence), window)
            views.append((replace(tile, mask_logits=tile.mask_logits[:, :0]), window))  # its map is on the canvas now
        assert canvas is not None
        presence = torch.stack([view.presence for view, _ in views])
        iou = torch.stack([view.iou for view, _ in views])
        belief = self._belief(presence)
        return Prediction(
            mask_logits=canvas.finish(whole.mask_logits, belief[0], belief.amax(dim=0)),
            presence=presence.amax(dim=0),
            iou=iou.gather(0, presence.argmax(dim=0)[None])[0],
            instances=tuple(_join(views, index, size_hw) for index in range(len(queries))),
        )

    def _belief(self, presence: Tensor) -> Tensor:
        """Say how far a view is believed that finds a thing with this presence, in [0, 1]."""
        edge = torch.tensor(self.presence_threshold).logit(eps=1e-4)
        return torch.sigmoid(BELIEF_SLOPE * (presence.logit(eps=1e-4) - edge))


class _Canvas:
    """Maps of N queries over the whole image, as fine as those of the tiles, which are added one by one.

    Args:
        like: Map of a tile, shape (N, h, w).
        window: The tile.
        size_hw: Height and width of the image.
        overlap: Width over which a tile fades out, pixels.
    """

    def __init__(self, like: Tensor, window: Window, size_hw: tuple[int, int], overlap: int) -> None:
        num_queries, tile_rows, tile_columns = like.shape
        left, top, right, bottom = window
        rows = math.ceil(size_hw[0] * tile_rows / (bottom - top))
        columns = math.ceil(size_hw[1] * tile_columns / (right - left))
        self.size_hw = size_hw
        self.overlap = overlap
        self.weight = torch.zeros(rows, columns)
        self.belief = torch.zeros(num_queries, rows, columns)
        self.evidence = torch.zeros(num_queries, rows, columns)

    def add(self, logits: Tensor, belief: Tensor, window: Window) -> None:
        """Add a tile: its map, shape (N, h, w), and how far it is believed, shape (N,)."""
        (rows, row_weight, row_sampling), (columns, column_weight, column_sampling) = (
            self._place(axis, window, logits.shape[1 + axis]) for axis in range(2)
        )
        weight = row_weight[:, None] * column_weight
        believed = weight * belief[:, None, None]
        self.weight[rows, columns] += weight
        self.belief[:, rows, columns] += believed
        self.evidence[:, rows, columns] += believed * (row_sampling @ logits @ column_sampling.T)

    def finish(self, whole: Tensor, whole_belief: Tensor, surest_belief: Tensor) -> Tensor:
        """Put the whole image's map where the tiles are not believed; changes what was added.

        Args:
            whole: Map of the whole image, shape (N, h, w).
            whole_belief: How far that is believed, shape (N,).
            surest_belief: Of the view that is believed most, shape (N,): next to it all others are measured.

        Returns:
            Logits, shape (N, h', w').
        """
        scale = self.weight * surest_belief[:, None, None]
        believed = self.belief.div_(scale)
        share = (whole_belief / surest_belief)[:, None, None]
        # Where nothing is believed, nothing is there.
        coarse = share * whole + (1 - share) * OUTSIDE_LOGIT
        size = (self.weight.shape[0], self.weight.shape[1])
        coarse = F.interpolate(coarse[None], size, mode="bilinear", align_corners=False)[0]
        return self.evidence.div_(scale).add_(coarse.mul_(1 - believed))

    def _place(self, axis: int, window: Window, num_cells: int) -> tuple[slice, Tensor, Tensor]:
        """Say which cells of the canvas a tile covers along one axis, 0 for y, with which weights, and from where."""
        start, stop, length = window[1 - axis], window[3 - axis], self.size_hw[axis]
        step = length / self.weight.shape[axis]
        cells = torch.arange(math.floor(start / step), math.ceil(stop / step))
        pixels = (cells + 0.5) * step
        weight = torch.ones(len(cells))
        if start > 0:
            weight *= ((pixels - start) / self.overlap).clamp(0, 1)
        if stop < length:
            weight *= ((stop - pixels) / self.overlap).clamp(0, 1)
        places = ((pixels - start) * num_cells / (stop - start) - 0.5).clamp(0, num_cells - 1)
        sampling = (1 - (places[:, None] - torch.arange(num_cells)).abs()).clamp(min=0)
        return slice(int(cells[0]), int(cells[-1]) + 1), weight, sampling


def _prefix(index: int) -> str:
    return f"view{index}."


def _prefixed(features: Features, index: int) -> Features:
    return {f"{_prefix(index)}{name}": value for name, value in features.items()}


def _join(
    views: Sequence[tuple[Prediction, Window]], query_index: int, size_hw: tuple[int, int]
) -> tuple[Instance, ...] | None:
    """Put the objects of one query in all views together; None where the segmenter tells none apart."""
    pieces: list[Piece] = []
    for prediction, window in views:
        objects = None if prediction.instances is None else prediction.instances[query_index]
        if objects is None:
            return None
        pieces += [Piece(shift_instance(instance, window, size_hw), window) for instance in objects]
    whole_xyxy = views[0][1]
    found = [(each.instance, each.view_xyxy) for each in join_pieces([p for p in pieces if p.tile_xyxy != whole_xyxy])]
    found += [(piece.instance, whole_xyxy) for piece in pieces if piece.tile_xyxy == whole_xyxy]
    # The closer look is the better one.
    closeness = 1 / box_areas(np.array([view for _, view in found]).reshape(-1, 4))
    kept = suppress_instances([instance for instance, _ in found], closeness.tolist(), iou_threshold=SAME_OBJECT_IOU)
    return tuple(sorted((found[index][0] for index in kept), key=lambda instance: -instance.score))
