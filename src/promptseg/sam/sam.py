"""One class for every SAM: what differs between them are the values that it is composed of."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from promptseg.ops.deferred import Deferred
from promptseg.ops.fork_lock import ForkLock
from promptseg.ops.pixels import IMAGENET_MEAN_255, IMAGENET_STD_255, normalize_pixels
from promptseg.runtime import Graph, Runtime
from promptseg.sam.base import Frame, MaskChoice, SamEmbedding, SamOutput
from promptseg.sam.graphs import SamGraphs, SamPart, feature_names
from promptseg.sam.prompt_checks import check_coarse, check_prompts
from promptseg.sam.prompt_encoder import STRIDE, PromptEncoder

# Decoding needs about 25 MB a prompt at 1024 pixels. A compiled decoder gains little beyond four prompts.
PROMPTS_PER_CALL = 16
PROMPTS_PER_COMPILED_CALL = 4


class Sam:
    """A promptable segmenter; see `sam.base.PromptableSegmenter` for its methods.

    A graph is opened when it is first needed, and kept.

    Args:
        prompt_encoder: Points and boxes to tokens.
        graphs: Sources of what an engine computes.
        place_image: From the size of an image to its place in a canvas.
        runtime: Computes the graphs.
        decoder_runtime: Computes those that make masks of prompts; None: `runtime`.
    """

    def __init__(
        self,
        prompt_encoder: PromptEncoder,
        graphs: SamGraphs,
        place_image: Callable[[tuple[int, int]], Frame],
        runtime: Runtime,
        *,
        decoder_runtime: Runtime | None = None,
    ) -> None:
        self.prompt_encoder = prompt_encoder
        self.graphs = graphs
        self._place_image = place_image
        self._runtime = runtime
        self._decoder_runtime = decoder_runtime or runtime
        self._opened: dict[tuple[SamPart, tuple[int, int] | None], Deferred[Graph]] = {}
        self._positions: dict[tuple[int, int], NDArray[np.float32]] = {}
        self._feature_names = feature_names(graphs.num_features)
        self._batch = PROMPTS_PER_COMPILED_CALL if self._decoder_runtime.is_compiled else PROMPTS_PER_CALL
        self._lock = ForkLock()

    @property
    def input_side(self) -> int:
        """Longer side of what is encoded, pixels."""
        return self.prompt_encoder.input_side

    def frame(self, size_hw: tuple[int, int]) -> Frame:
        """Say where an image of a size, pixels, lies in the canvas that is encoded."""
        return self._place_image(size_hw)

    def encode(self, image_rgb: NDArray[np.uint8]) -> SamEmbedding:
        """Encode an image, (H, W, 3) uint8."""
        frame = self._place_image((image_rgb.shape[0], image_rgb.shape[1]))
        features = self._graph("encode", frame.canvas_hw)(pixels=_to_canvas(image_rgb, frame))
        return SamEmbedding(tuple(features[name] for name in self._feature_names), frame)

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
        """Mask the objects of N prompts; arguments and errors as `sam.base.PromptableSegmenter.segment`."""
        frame = embedding.frame
        num_prompts = check_prompts(frame.original_hw, points_xy, point_labels, boxes_xyxy)
        if mask_logits is not None:
            check_coarse(mask_logits, frame, num_prompts)
        num_masks = 3 if choice == "levels" else 1
        masks = np.zeros((num_prompts, num_masks, *(side // 4 for side in frame.canvas_hw)), dtype=np.float32)
        scores = np.zeros((num_prompts, num_masks), dtype=np.float32)
        features = (np.asarray(feature, np.float32) for feature in embedding.features)
        of_image = {
            **dict(zip(self._feature_names, features, strict=True)),
            "position": self._position(frame.canvas_hw),
        }
        no_mask = self._no_mask(frame.canvas_hw)
        for rows in self._batches(num_prompts, point_labels):
            tokens = self._embed(frame, rows, points_xy, point_labels, boxes_xyxy)
            dense = no_mask if mask_logits is None else self._embed_coarse(frame, mask_logits[rows])
            answer = self._graph(choice, frame.canvas_hw)(**of_image, tokens=tokens, dense=dense)
            masks[rows], scores[rows] = answer["masks"], answer["scores"]
        return SamOutput(masks, scores, frame)

    def _batches(self, num_prompts: int, point_labels: NDArray[Any] | None) -> Iterator[NDArray[np.int64]]:
        """Give the indexes of prompts that are decoded together: they have the same number of points."""
        num_points = np.zeros(num_prompts) if point_labels is None else (point_labels >= 0).sum(axis=1)
        for count in np.unique(num_points):
            alike = np.flatnonzero(num_points == count)
            yield from (alike[start : start + self._batch] for start in range(0, len(alike), self._batch))

    def _embed(
        self,
        frame: Frame,
        rows: NDArray[np.int64],
        points_xy: NDArray[np.floating] | None,
        point_labels: NDArray[Any] | None,
        boxes_xyxy: NDArray[np.floating] | None,
    ) -> NDArray[np.float32]:
        """Embed some of the prompts, without the points that only fill up."""
        points = on_object = boxes = None
        if points_xy is not None and point_labels is not None:
            given = point_labels[rows] >= 0
            if given.any():
                points = frame.points_to_canvas(points_xy[rows][given]).reshape(len(rows), -1, 2)
                on_object = (point_labels[rows][given] == 1).reshape(len(rows), -1)
        if boxes_xyxy is not None:
            boxes = frame.points_to_canvas(boxes_xyxy[rows].reshape(-1, 2, 2)).reshape(-1, 4)
        return self.prompt_encoder.embed_prompts(points, on_object, boxes)

    def _embed_coarse(self, frame: Frame, mask_logits: NDArray[np.floating]) -> NDArray[np.float32]:
        """Embed coarse masks (n, h, w) over the canvas: what they add to every cell of the embedding."""
        return self._graph("coarse", frame.canvas_hw)(masks=np.asarray(mask_logits, np.float32)[:, None])["dense"]

    def _no_mask(self, canvas_hw: tuple[int, int]) -> NDArray[np.float32]:
        no_mask = self.prompt_encoder.no_mask
        grid_hw = tuple(side // STRIDE for side in canvas_hw)
        return np.ascontiguousarray(np.broadcast_to(no_mask[None, :, None, None], (1, no_mask.size, *grid_hw)))

    def _position(self, canvas_hw: tuple[int, int]) -> NDArray[np.float32]:
        """Encode the positions of an embedding's cells, once for each of the few canvases."""
        with self._lock:
            if canvas_hw not in self._positions:
                self._positions[canvas_hw] = self.prompt_encoder.image_position(canvas_hw)
            return self._positions[canvas_hw]

    def _graph(self, part: SamPart, canvas_hw: tuple[int, int]) -> Graph:
        runtime = self._decoder_runtime if part in ("single", "levels") else self._runtime
        with self._lock:
            key = (part, canvas_hw if part == "encode" else None)
            if key not in self._opened:
                self._opened[key] = Deferred(lambda: runtime.graph(self.graphs.source(part, canvas_hw)))
            opened = self._opened[key]
        return opened.get()


def _to_canvas(image_rgb: NDArray[np.uint8], frame: Frame) -> NDArray[np.float32]:
    """Scale, normalize, pad with zeros at the right and below: (1, 3, H, W) of the canvas."""
    (height, width), (scale_x, scale_y) = frame.original_hw, frame.scale_xy
    size = (max(1, round(width * scale_x)), max(1, round(height * scale_y)))
    resized = np.asarray(Image.fromarray(image_rgb).resize(size, Image.Resampling.BILINEAR))
    return normalize_pixels(resized, IMAGENET_MEAN_255, IMAGENET_STD_255, canvas_hw=frame.canvas_hw)
