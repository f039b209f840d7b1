"""Uni-OVSeg's mask side as a promptable segmenter: points and boxes in, the masks of one object each out."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from promptseg.encoders.pixels import Normalizes
from promptseg.errors import UnsupportedPromptError
from promptseg.models.uniovseg.graphs import FEATURE_NAMES, PIXEL_NAMES, PromptPart, UniOvSegGraphs
from promptseg.ops.pixels import normalize_pixels
from promptseg.sam.base import Frame, MaskChoice, SamEmbedding, SamOutput, place_in_square
from promptseg.sam.prompt_checks import check_prompts

Floats = NDArray[np.float32]

# A point is a box that reaches so far to each side, canvas pixels.
POINT_REACH = 2.0
# The published code moves the corners of boxes, not of points, by half a canvas pixel.
BOX_SHIFT = 0.5
PADDING_GRAY = 128


class UniOvSegMasker:
    """A promptable segmenter; see `sam.base.PromptableSegmenter` for its methods.

    One point has a candidate for each granularity; several points, or a box, have a single mask. A coarse mask, or
    points together with a box, are not taken.

    Args:
        graphs: Steps of the network.
        input_side: Side of the square canvas, pixels.
        statistics: Mean and deviation that normalize the pixels.
        prompts_per_call: Prompts that are decoded together.
    """

    def __init__(
        self, graphs: UniOvSegGraphs, *, input_side: int, statistics: Normalizes, prompts_per_call: int
    ) -> None:
        self._graphs = graphs
        self._input_side = input_side
        self._statistics = statistics
        self._prompts_per_call = prompts_per_call

    def frame(self, size_hw: tuple[int, int]) -> Frame:
        """Say where an image of a size, pixels, lies in the canvas that is encoded."""
        return place_in_square(self._input_side, size_hw)

    def encode(self, image_rgb: NDArray[np.uint8]) -> SamEmbedding:
        """Encode an image, (H, W, 3) uint8; the features are the maps of "encode", see `graphs`."""
        frame = self.frame((image_rgb.shape[0], image_rgb.shape[1]))
        maps = self._graphs["encode"](pixels=_to_canvas(image_rgb, frame, self._statistics))
        return SamEmbedding(tuple(maps[name] for name in FEATURE_NAMES if name in maps), frame)

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
        """Mask the objects of N prompts; arguments and errors as `sam.base.PromptableSegmenter.segment`.

        "levels" gives every granularity where each prompt is one point on the object, else the single mask; "single"
        gives the best scored granularity of one point.

        Raises:
            UnsupportedPromptError: There are coarse masks, or points and boxes together.
        """
        if mask_logits is not None:
            raise UnsupportedPromptError("Uni-OVSeg takes no coarse masks: give points or a box")
        if boxes_xyxy is not None and point_labels is not None and (point_labels >= 0).any():
            raise UnsupportedPromptError("Uni-OVSeg takes points or a box for an object, not both: leave one out")
        frame = embedding.frame
        num_prompts = check_prompts(frame.original_hw, points_xy, point_labels, boxes_xyxy)
        masks = np.zeros((num_prompts, 1, *(side // 4 for side in frame.canvas_hw)), dtype=np.float32)
        scores = np.zeros((num_prompts, 1), dtype=np.float32)
        if not num_prompts:
            return SamOutput(masks, scores, frame)
        if boxes_xyxy is not None:
            canvas = frame.points_to_canvas(boxes_xyxy.reshape(-1, 2, 2)).reshape(-1, 4) + np.float32(BOX_SHIFT)
            return self._decode("box", embedding, boxes=canvas)
        assert points_xy is not None and point_labels is not None  # check_prompts
        boxes = _around(frame.points_to_canvas(points_xy))
        given = point_labels >= 0
        if (given.sum(axis=1) == 1).all() and (point_labels[given] == 1).all():
            output = self._decode("point", embedding, boxes=boxes[given])
            return output if choice == "levels" else output.best()
        for rows, num_points in _alike(given):
            on_object = (point_labels[rows] == 1)[given[rows]].reshape(-1, num_points)
            own = boxes[rows][given[rows]].reshape(-1, num_points, 4)
            found = self._decode("points", embedding, boxes=own, on_object=on_object)
            masks[rows], scores[rows] = found.mask_logits, found.scores
        return SamOutput(masks, scores, frame)

    def _decode(self, part: PromptPart, embedding: SamEmbedding, **prompts: NDArray[Any]) -> SamOutput:
        """Decode prompts, in batches; boxes are in canvas pixels."""
        prompts["boxes"] = (prompts["boxes"] / np.float32(self._input_side)).astype(np.float32)
        maps = {
            name: np.asarray(one, np.float32)
            # those of regions follow, if the model takes names
            for name, one in zip(PIXEL_NAMES, embedding.features, strict=False)
        }
        size, graph = self._prompts_per_call, self._graphs[part]
        answers = [
            graph(**maps, **{name: values[start : start + size] for name, values in prompts.items()})
            for start in range(0, len(prompts["boxes"]), size)
        ]
        masks, scores = (np.concatenate([answer[name] for answer in answers]) for name in ("masks", "scores"))
        return SamOutput(masks, scores, embedding.frame)


def _around(points_xy: Floats) -> Floats:
    """Make the small boxes around points: (..., 2) to (..., 4), canvas pixels."""
    reach = np.float32(POINT_REACH)
    return np.concatenate([points_xy - reach, points_xy + reach], axis=-1)


def _alike(given: NDArray[np.bool_]) -> Iterator[tuple[NDArray[np.int64], int]]:
    """Yield the rows of the prompts that have the same number of points, and that number."""
    num_points = given.sum(axis=1)
    for count in np.unique(num_points):
        yield np.flatnonzero(num_points == count), int(count)


def _to_canvas(image_rgb: NDArray[np.uint8], frame: Frame, statistics: Normalizes) -> Floats:
    """Scale an image, pad it with gray at the right and below, and normalize it: (1, 3, S, S)."""
    (height, width), (scale_x, scale_y) = frame.original_hw, frame.scale_xy
    size = (max(1, round(width * scale_x)), max(1, round(height * scale_y)))
    canvas = np.full((*frame.canvas_hw, 3), PADDING_GRAY, dtype=np.uint8)
    canvas[: size[1], : size[0]] = np.asarray(Image.fromarray(image_rgb).resize(size, Image.Resampling.BILINEAR))
    mean, std = ([255 * value for value in values] for values in (statistics.mean, statistics.std))
    return normalize_pixels(canvas, mean, std)
