"""SAM's prompt encoder without its convolutions: points and boxes to tokens, positions of an image's cells.

Source:
    Kirillov et al. 2023, "Segment Anything", arXiv:2304.02643; facebookresearch/segment-anything,
    segment_anything/modeling/prompt_encoder.py (Apache-2.0); for SAM 2, facebookresearch/sam2 (Apache-2.0).
    Differs: numpy; the coarse mask is embedded elsewhere, by a graph.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Image pixels per cell of the embedding.
STRIDE = 16


@dataclass(frozen=True, eq=False)
class PromptEncoder:
    """The few arrays that turn positions into tokens of C numbers; all float32.

    Attributes:
        frequencies: Random frequencies of the position encoding, (2, C / 2).
        point_types: What is added to a point beside the object, a point on it, a box's top left corner and its bottom
            right one, (4, C).
        no_point: The token that stands for no point, (C,).
        no_mask: What is added to every cell of the embedding where there is no coarse mask, (C,).
        input_side: Longer side of what is encoded, pixels; positions are relative to it.
        ends_boxes: Whether a box is followed by the token for no point, as in SAM 2.
    """

    frequencies: NDArray[np.float32]
    point_types: NDArray[np.float32]
    no_point: NDArray[np.float32]
    no_mask: NDArray[np.float32]
    input_side: int
    ends_boxes: bool = False

    def embed_prompts(
        self,
        points_xy: NDArray[np.float32] | None,
        on_object: NDArray[np.bool_] | None,
        boxes_xyxy: NDArray[np.float32] | None,
    ) -> NDArray[np.float32]:
        """Embed N prompts of points, boxes or both.

        Args:
            points_xy: (N, P, 2), canvas pixels, or None.
            on_object: Whether each point lies on the object, (N, P), or None.
            boxes_xyxy: (N, 4), canvas pixels, or None.

        Returns:
            Tokens (N, T, C).
        """
        parts = []
        if points_xy is not None and on_object is not None:
            parts.append(self._encode_pixels(points_xy) + self.point_types[on_object.astype(np.int64)])
            if boxes_xyxy is None:
                parts.append(self._no_points(len(points_xy)))
        if boxes_xyxy is not None:
            parts.append(self._encode_pixels(boxes_xyxy.reshape(-1, 2, 2)) + self.point_types[2:])
            if self.ends_boxes:
                parts.append(self._no_points(len(boxes_xyxy)))
        return np.concatenate(parts, axis=1)

    def image_position(self, canvas_hw: tuple[int, int]) -> NDArray[np.float32]:
        """Encode the positions of an embedding's cells: (1, C, h, w)."""
        y, x = np.meshgrid(
            *((np.arange(side // STRIDE, dtype=np.float32) + np.float32(0.5)) * STRIDE for side in canvas_hw),
            indexing="ij",
        )
        encoded = self._encode(np.stack([x, y], axis=-1))
        return np.ascontiguousarray(encoded.transpose(2, 0, 1)[None])

    def _no_points(self, num_prompts: int) -> NDArray[np.float32]:
        return np.broadcast_to(self.no_point, (num_prompts, 1, self.no_point.size))

    def _encode_pixels(self, points_xy: NDArray[np.float32]) -> NDArray[np.float32]:
        return self._encode(points_xy + np.float32(0.5))  # to the center of the pixel

    def _encode(self, points_xy: NDArray[np.float32]) -> NDArray[np.float32]:
        """Encode canvas positions (..., 2) as sines and cosines, (..., C)."""
        unit = 2 * (points_xy / np.float32(self.input_side)) - 1
        # not a matrix product: it would leave threads spinning, which slow a compiled decoder down
        mixed = unit[..., :1] * self.frequencies[0] + unit[..., 1:] * self.frequencies[1]
        angles = np.float32(2 * np.pi) * mixed
        return np.concatenate([np.sin(angles), np.cos(angles)], axis=-1)
