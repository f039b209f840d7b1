"""Every region of an image: a grid of points, all granularities of each, and only the good and different masks stay.

Paper: Wang et al. 2024, arXiv:2402.08960; steps and numbers of the authors' inference code. Differs: masks are compared
at stride 4 instead of 2; a sigmoid is applied once to the score, not twice; a mask without any cell in the image is
dropped.

Shapes: R regions, (h, w) the canvas at stride 4, E dimension of CLIP's space.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from promptseg.models.uniovseg.config import RegionSettings
from promptseg.models.uniovseg.graphs import FEATURE_NAMES, REGION_NAMES, UniOvSegGraphs
from promptseg.ops.windows import point_grid
from promptseg.sam.base import OUTSIDE_LOGIT, Frame, PromptableSegmenter, SamEmbedding

Floats = NDArray[np.float32]

REGIONS_PER_CALL = 128


@dataclass(frozen=True, eq=False)
class Regions:
    """The regions of an image, best first.

    Attributes:
        mask_logits: Over the canvas, shape (R, h, w); above or equal to 0 means region.
        scores: Estimated quality of each mask, shape (R,), in [0, 1].
        vectors: In CLIP's space, of length 1, shape (R, E).
        frame: How the image lies in the canvas.
    """

    mask_logits: Floats
    scores: Floats
    vectors: Floats
    frame: Frame

    def __len__(self) -> int:
        return len(self.scores)

    @cached_property
    def image_logits(self) -> Floats:
        """The mask logits over the image alone, at the resolution of the masks, shape (R, h', w')."""
        return self.frame.maps_to_image(self.mask_logits, self.frame.map_hw)


def find_regions(
    masker: PromptableSegmenter, graphs: UniOvSegGraphs, embedding: SamEmbedding, settings: RegionSettings
) -> Regions:
    """Find the regions of an encoded image, and embed them.

    Args:
        masker: Masks the points.
        graphs: The steps of the same network.
        embedding: The image, as the masker encoded it.
        settings: What is tried and what is kept.
    """
    masks, scores = _good_masks(masker, embedding, settings)
    kept = suppress_masks(masks >= 0, scores, max_iou=settings.max_iou, max_inside_share=settings.max_inside_share)
    masks, scores = masks[kept], scores[kept]
    return Regions(masks, scores, embed_masks(graphs, embedding, masks), embedding.frame)


def embed_masks(graphs: UniOvSegGraphs, embedding: SamEmbedding, mask_logits: Floats) -> Floats:
    """Embed masks of an encoded image in CLIP's space.

    Args:
        graphs: The steps of the network that encoded it.
        embedding: The image.
        mask_logits: Over the canvas, shape (R, h, w), each above or equal to 0 somewhere.

    Returns:
        Vectors of length 1, shape (R, E).
    """
    maps = {
        name: np.asarray(one, np.float32)
        for name, one in zip(FEATURE_NAMES, embedding.features, strict=True)
        if name in REGION_NAMES
    }
    parts = [
        graphs["regions"](**maps, masks=mask_logits[start : start + REGIONS_PER_CALL])["vectors"]
        # at least one call, which also gives the width of no vectors
        for start in range(0, max(len(mask_logits), 1), REGIONS_PER_CALL)
    ]
    return np.concatenate(parts)


def suppress_masks(
    masks: NDArray[np.bool_], scores: Floats, *, max_iou: float, max_inside_share: float
) -> NDArray[np.int64]:
    """Keep the best masks; drop those that overlap a better kept one, or lie inside it.

    Args:
        masks: bool, shape (R, h, w).
        scores: Shape (R,); of equal ones the earlier is better.
        max_iou: A mask is dropped where its IoU with a kept one reaches this.
        max_inside_share: A mask is dropped where this share of it lies inside a kept one.

    Returns:
        Indexes of the kept masks, best first.
    """
    order = np.argsort(-scores, kind="stable")
    flat = masks[order].reshape(len(order), int(np.prod(masks.shape[1:]))).astype(np.float32)
    areas = flat.sum(axis=1)
    shared = flat @ flat.T  # sums of ones, exact in float32 up to 2 ** 24 cells
    unions = np.maximum(areas[:, None] + areas - shared, 1)
    inside_shares = shared / np.maximum(areas, 1)
    beaten = (shared / unions >= max_iou) | (inside_shares >= max_inside_share)
    kept: list[int] = []
    for index in range(len(order)):
        if not beaten[kept, index].any():
            kept.append(index)
    return np.asarray(order[kept], dtype=np.int64)


def _good_masks(
    masker: PromptableSegmenter, embedding: SamEmbedding, settings: RegionSettings
) -> tuple[Floats, Floats]:
    """Give the well scored masks of a grid of points, cut to the image: (R, h, w), and their scores (R,)."""
    frame = embedding.frame
    points_xy = point_grid(settings.points_per_side, frame.original_hw)[:, None]
    height, width = (side // 4 for side in frame.canvas_hw)
    rows, columns = frame.map_hw
    masks: list[Floats] = [np.zeros((0, height, width), dtype=np.float32)]
    scores: list[Floats] = [np.zeros(0, dtype=np.float32)]
    for start in range(0, len(points_xy), settings.points_per_call):
        batch = points_xy[start : start + settings.points_per_call]
        labels = np.ones(batch.shape[:2], dtype=np.int64)
        output = masker.segment(embedding, points_xy=batch, point_labels=labels, choice="levels")
        is_good = output.scores >= settings.min_score
        good = output.mask_logits[is_good]
        good[:, rows:], good[:, :, columns:] = OUTSIDE_LOGIT, OUTSIDE_LOGIT
        is_seen = (good >= 0).any(axis=(1, 2))
        masks.append(good[is_seen])
        scores.append(output.scores[is_good][is_seen])
    return np.concatenate(masks), np.concatenate(scores)
