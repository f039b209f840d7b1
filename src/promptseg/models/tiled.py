"""Segment a large image as a whole and in overlapping tiles, and blend the results without seams."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from promptseg.errors import DataError, UnsupportedPromptError
from promptseg.ops.boxes import box_areas
from promptseg.ops.resize import logit, resize_map
from promptseg.ops.windows import Tiles, Window
from promptseg.prompts import Query
from promptseg.results import Instance
from promptseg.sam.base import OUTSIDE_LOGIT
from promptseg.sam.overlap import shift_instance, suppress_instances
from promptseg.sam.seams import Piece, join_pieces
from promptseg.segmenter import Arrays, DeferredEncoding, EncodedImage, Prediction, Segmenter

Floats = NDArray[np.float32]

# These prompts refer to no position in the image, so they apply to every tile.
PROMPT_KINDS = frozenset({"text", "exemplar"})
# Slope of the trust in a view around the presence threshold, per unit of the presence logit.
TRUST_SLOPE = 4.0
# Maximum number of queries at a time: each holds a map of the whole image in memory.
QUERY_CHUNK = 16
SAME_OBJECT_IOU = 0.5
LEAST_PROBABILITY = 1e-4


@dataclass(frozen=True, eq=False)
class TiledImage:
    """A large image, encoded view by view.

    Attributes:
        size_hw: Height and width of the image, pixels.
        views: The whole image, then each tile.
        windows: Windows of the tiles, (x0, y0, x1, y1) in pixels; empty if the image fits in one tile.
    """

    size_hw: tuple[int, int]
    views: tuple[EncodedImage, ...]
    windows: tuple[Window, ...]

    def to_arrays(self) -> Arrays:
        """Return the arrays of all views by name."""
        return {
            f"view{index}.{name}": value
            for index, view in enumerate(self.views)
            for name, value in view.to_arrays().items()
        }

    def compute_deferred(self) -> None:
        """Compute the deferred parts of all views."""
        for view in self.views:
            if isinstance(view, DeferredEncoding):
                view.compute_deferred()


class TiledSegmenter:
    """Segment a large image as a whole and in tiles with another segmenter.

    The trust in a tile grows with the presence of the object in it. Where no tile is trusted, the map of the whole
    image counts: a tile that shows only sky, say, must not lose the sky. Tiles fade into their neighbors towards their
    edges. An image that fits in one tile gets the other segmenter's prediction unchanged.

    Args:
        segmenter: Segments the whole image and each tile.
        tiles: Layout of the tiles.
    """

    def __init__(self, segmenter: Segmenter[Any], tiles: Tiles) -> None:
        self.segmenter = segmenter
        self.tiles = tiles

    @property
    def prompt_kinds(self) -> frozenset[str]:
        """Kinds of prompt that the segmenter takes and that refer to no position in the image."""
        return self.segmenter.prompt_kinds & PROMPT_KINDS

    @property
    def mask_threshold(self) -> float:
        """Minimum probability of a mask's pixels."""
        return self.segmenter.mask_threshold

    @property
    def presence_threshold(self) -> float:
        """Minimum presence of a query that counts as found."""
        return self.segmenter.presence_threshold

    def encode_image(self, image_rgb: NDArray[np.uint8]) -> TiledImage:
        """Encode an image, uint8, shape (H, W, 3): the whole image, and its tiles in half precision."""
        size_hw = (image_rgb.shape[0], image_rgb.shape[1])
        windows = tuple(self.tiles.windows(size_hw))
        if not windows:
            return TiledImage(size_hw, (self.segmenter.encode_image(image_rgb),), ())
        whole = self.segmenter.encode_part(image_rgb, compact=False)
        tiles = (self.segmenter.encode_part(_cut(image_rgb, window), compact=True) for window in windows)
        return TiledImage(size_hw, (whole, *tiles), windows)

    def encode_part(self, image_rgb: NDArray[np.uint8], *, compact: bool) -> TiledImage:
        """Encode a view of a larger image, uint8, shape (H, W, 3), like a separate image."""
        return self.encode_image(image_rgb)

    def restore_image(self, arrays: Mapping[str, NDArray[Any]], image_rgb: NDArray[np.uint8]) -> TiledImage:
        """Rebuild the record from the result of `TiledImage.to_arrays`.

        Raises:
            DataError: A view is missing.
        """
        size_hw = (image_rgb.shape[0], image_rgb.shape[1])
        windows = tuple(self.tiles.windows(size_hw))
        views = []
        for index, window in enumerate([(0, 0, size_hw[1], size_hw[0]), *windows]):
            prefix = f"view{index}."
            own = {name.removeprefix(prefix): one for name, one in arrays.items() if name.startswith(prefix)}
            if not own:
                raise DataError(f"the embedding lacks view {index} of {len(windows) + 1}: encode the image again")
            views.append(self.segmenter.restore_image(own, _cut(image_rgb, window)))
        return TiledImage(size_hw, tuple(views), windows)

    def segment(self, image: TiledImage, queries: Sequence[Query]) -> Prediction:
        """Segment an encoded image by N queries; the prediction has N entries in the same order.

        Raises:
            UnsupportedPromptError: A prompt refers to a position in the image, or the segmenter does not take it.
        """
        for query in queries:
            for prompt in query.prompts:
                if prompt.kind not in self.prompt_kinds:
                    raise UnsupportedPromptError(
                        f"in tiles the model takes {' and '.join(sorted(self.prompt_kinds))} prompts, no "
                        f"{prompt.kind} prompts (query {query.label!r}): segment without tiles"
                    )
        if not image.windows or not queries:
            return self.segmenter.segment(image.views[0], queries)
        parts = [
            self._segment_chunk(image, queries[start : start + QUERY_CHUNK])
            for start in range(0, len(queries), QUERY_CHUNK)
        ]
        return Prediction(
            np.concatenate([part.mask_logits for part in parts]),
            np.concatenate([part.presence for part in parts]),
            np.concatenate([part.mask_quality for part in parts]),
            tuple(objects for part in parts for objects in part.instances or ()),
            tuple(name for part in parts for name in part.read_as or ()) or None,
        )

    def _segment_chunk(self, image: TiledImage, queries: Sequence[Query]) -> Prediction:
        size_hw = image.size_hw
        whole = self.segmenter.segment(image.views[0], queries)
        canvas: _Canvas | None = None
        views = [(whole, (0, 0, size_hw[1], size_hw[0]))]
        for view, window in zip(image.views[1:], image.windows, strict=True):
            tile = self.segmenter.segment(view, queries)
            canvas = canvas or _Canvas(tile.mask_logits, window, size_hw, self.tiles.overlap)
            canvas.add(tile.mask_logits, self._trust(tile.presence), window)
            views.append((replace(tile, mask_logits=tile.mask_logits[:, :0]), window))  # the canvas holds its map
        assert canvas is not None
        presence = np.stack([view.presence for view, _ in views])
        quality = np.stack([view.mask_quality for view, _ in views])
        trust = self._trust(presence)
        return Prediction(
            canvas.finish(whole.mask_logits, trust[0], trust.max(axis=0)),
            presence.max(axis=0),
            np.take_along_axis(quality, presence.argmax(axis=0)[None], axis=0)[0],
            tuple(_join(views, index, size_hw) for index in range(len(queries))),
            whole.read_as,
        )

    def _trust(self, presence: Floats) -> Floats:
        """Compute the trust in views, in [0, 1], from the presence of an object in them; any shape."""
        edge = logit(min(max(self.presence_threshold, LEAST_PROBABILITY), 1 - LEAST_PROBABILITY))
        clipped = presence.clip(LEAST_PROBABILITY, 1 - LEAST_PROBABILITY)
        # not ops.resize.sigmoid, which is exactly 0 far below: trust divides, and must stay above 0
        odds: Floats = np.exp(TRUST_SLOPE * (np.log(clipped / (1 - clipped)) - edge)).astype(np.float32)
        return odds / (1 + odds)


class _Canvas:
    """Accumulator of N queries' maps over the whole image, at the resolution of the tiles' maps.

    Args:
        like: Maps of a tile, shape (N, h, w).
        window: Window of that tile.
        size_hw: Height and width of the image.
        overlap: Width over which a tile fades out, pixels.
    """

    def __init__(self, like: Floats, window: Window, size_hw: tuple[int, int], overlap: int) -> None:
        num_queries, tile_rows, tile_columns = like.shape
        left, top, right, bottom = window
        rows = math.ceil(size_hw[0] * tile_rows / (bottom - top))
        columns = math.ceil(size_hw[1] * tile_columns / (right - left))
        self.size_hw = size_hw
        self.overlap = overlap
        self.weight = np.zeros((rows, columns), dtype=np.float32)
        self.trust = np.zeros((num_queries, rows, columns), dtype=np.float32)
        self.evidence = np.zeros((num_queries, rows, columns), dtype=np.float32)

    def add(self, logits: Floats, trust: Floats, window: Window) -> None:
        """Add a tile: its maps, shape (N, h, w), and the trust in it, shape (N,)."""
        (rows, row_weight, row_sampling), (columns, column_weight, column_sampling) = (
            self._place(axis, window, logits.shape[1 + axis]) for axis in range(2)
        )
        weight = row_weight[:, None] * column_weight
        trusted = weight * trust[:, None, None]
        self.weight[rows, columns] += weight
        self.trust[:, rows, columns] += trusted
        self.evidence[:, rows, columns] += trusted * (row_sampling @ logits @ column_sampling.T)

    def finish(self, whole: Floats, whole_trust: Floats, most_trust: Floats) -> Floats:
        """Fill in the map of the whole image where the tiles are not trusted.

        Args:
            whole: Maps of the whole image, shape (N, h, w).
            whole_trust: Trust in them, shape (N,).
            most_trust: Trust in the most trusted view, shape (N,), which all trusts are divided by.

        Returns:
            Logits, shape (N, h', w').
        """
        rows, columns = self.weight.shape
        logits = np.empty((len(whole), rows, columns), dtype=np.float32)
        for index, (coarse, own, most) in enumerate(zip(whole, whole_trust, most_trust, strict=True)):
            scale = self.weight * most
            share = own / most
            # where no view is trusted, the object is absent
            seen = resize_map((share * coarse + (1 - share) * OUTSIDE_LOGIT).astype(np.float32), (rows, columns))
            logits[index] = self.evidence[index] / scale + seen * (1 - self.trust[index] / scale)
        return logits

    def _place(self, axis: int, window: Window, num_cells: int) -> tuple[slice, Floats, Floats]:
        """Find the cells that a tile covers along one axis (0: y), their weights, and a sampling matrix."""
        start, stop, length = window[1 - axis], window[3 - axis], self.size_hw[axis]
        step = length / self.weight.shape[axis]
        cells = np.arange(math.floor(start / step), math.ceil(stop / step))
        pixels = (cells + 0.5) * step
        weight = np.ones(len(cells), dtype=np.float32)
        if start > 0:
            weight *= ((pixels - start) / self.overlap).clip(0, 1)
        if stop < length:
            weight *= ((stop - pixels) / self.overlap).clip(0, 1)
        places = ((pixels - start) * num_cells / (stop - start) - 0.5).clip(0, num_cells - 1)
        sampling = (1 - np.abs(places[:, None] - np.arange(num_cells))).clip(min=0).astype(np.float32)
        return slice(int(cells[0]), int(cells[-1]) + 1), weight, sampling


def _cut(image_rgb: NDArray[np.uint8], window: Window) -> NDArray[np.uint8]:
    left, top, right, bottom = window
    return image_rgb[top:bottom, left:right]


def _join(
    views: Sequence[tuple[Prediction, Window]], query_index: int, size_hw: tuple[int, int]
) -> tuple[Instance, ...] | None:
    """Merge the instances of one query from all views; None if the segmenter separates no instances."""
    pieces: list[Piece] = []
    for prediction, window in views:
        objects = None if prediction.instances is None else prediction.instances[query_index]
        if objects is None:
            return None
        pieces += [Piece(shift_instance(instance, window, size_hw), window) for instance in objects]
    whole_xyxy = views[0][1]
    found = [(each.instance, each.view_xyxy) for each in join_pieces([p for p in pieces if p.tile_xyxy != whole_xyxy])]
    found += [(piece.instance, whole_xyxy) for piece in pieces if piece.tile_xyxy == whole_xyxy]
    # instances of smaller views are more precise
    closeness = 1 / box_areas(np.array([view for _, view in found]).reshape(-1, 4))
    kept = suppress_instances([instance for instance, _ in found], closeness.tolist(), iou_threshold=SAME_OBJECT_IOU)
    return tuple(sorted((found[index][0] for index in kept), key=lambda instance: -instance.score))
