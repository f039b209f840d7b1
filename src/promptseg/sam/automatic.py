"""Every mask of an image: a grid of points, three granularities each, and only the good and different ones stay.

Source:
    Kirillov et al. 2023, "Segment Anything", arXiv:2304.02643, appendix B; facebookresearch/segment-anything,
    segment_anything/automatic_mask_generator.py @ 006dbe5 (Apache-2.0): steps, settings and defaults.
    Differs: any SAM; logits are resized once, not twice; where a view is larger than the canvas that is encoded, its
    masks are judged at the canvas's size and drawn at the view's; a box ends after its last pixel, not on it; masks are
    compared by their pixels too, not by their boxes only; tiles, whose masks are joined across the seams.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from promptseg.errors import PromptError
from promptseg.ops.boxes import box_areas, suppress_boxes
from promptseg.ops.masks import drop_small_islands, fill_small_holes
from promptseg.ops.windows import Tiles, Window, crop_layers, point_grid
from promptseg.results import Instance
from promptseg.sam.base import PromptableSegmenter
from promptseg.sam.candidates import Candidate, draw, judge
from promptseg.sam.overlap import place_mask, rank_instance, suppress_instances
from promptseg.sam.seams import Piece, is_cut, join_pieces

ReportBatches = Callable[[int, int], None]
"""Told how many batches of points are done, and how many there are in all."""

# A box that comes so near to the edge of a crop, in pixels, is that of a cut object.
NEAR_EDGE = 20


@dataclass(frozen=True)
class AutomaticSettings:
    """What is tried and what is kept; names and defaults are those of SAM's generator, `mask_nms_thresh` is ours.

    Attributes:
        points_per_side: Points along each side of the image; their square is the number of prompts.
        points_per_batch: Prompts of one call of SAM.
        pred_iou_thresh: SAM's estimate of the mask's IoU must be above this.
        stability_score_thresh: IoU of the mask cut a little higher and a little lower must reach this.
        stability_score_offset: How much higher and lower, in logits.
        box_nms_thresh: Of two masks of one view whose boxes overlap by more than this IoU the better scored one stays.
        mask_nms_thresh: The same for the masks themselves, among all views.
        crop_n_layers: Layers of crops that are searched beside the whole image, for small objects; layer i has
            2**i x 2**i of them.
        crop_nms_thresh: Like `box_nms_thresh`, between views; the mask of the smaller view stays.
        crop_overlap_ratio: Overlap of the first layer's crops, as a share of the image's shorter side.
        crop_n_points_downscale_factor: A crop of layer i, and a tile (i = 1), has `points_per_side` divided by this to
            the power of i.
        min_mask_region_area: Holes and islands of fewer pixels are removed; 0: none are.

    Raises:
        PromptError: A number is out of its range.
    """

    points_per_side: int = 32
    points_per_batch: int = 64
    pred_iou_thresh: float = 0.88
    stability_score_thresh: float = 0.95
    stability_score_offset: float = 1.0
    box_nms_thresh: float = 0.7
    mask_nms_thresh: float = 0.8
    crop_n_layers: int = 0
    crop_nms_thresh: float = 0.7
    crop_overlap_ratio: float = 512 / 1500
    crop_n_points_downscale_factor: int = 1
    min_mask_region_area: int = 0

    def __post_init__(self) -> None:
        for name in ("points_per_side", "points_per_batch", "crop_n_points_downscale_factor"):
            if getattr(self, name) < 1:
                raise PromptError(f"{name} is at least 1, not {getattr(self, name)}")
        for name in ("crop_n_layers", "min_mask_region_area", "stability_score_offset"):
            if not getattr(self, name) >= 0:
                raise PromptError(f"{name} is at least 0, not {getattr(self, name)}")
        for name in ("pred_iou_thresh", "stability_score_thresh", "box_nms_thresh", "mask_nms_thresh"):
            self._check_share(name)
        for name in ("crop_nms_thresh", "crop_overlap_ratio"):
            self._check_share(name)

    def _check_share(self, name: str) -> None:
        if not 0.0 <= getattr(self, name) <= 1.0:
            raise PromptError(f"{name} is in [0, 1], not {getattr(self, name)}")


DEFAULT_SETTINGS = AutomaticSettings()


@dataclass(frozen=True, eq=False)
class AutomaticMask:
    """One mask of an image, found without a prompt.

    Attributes:
        instance: Box, mask and mask quality; its score is 1, for the mask shows something.
        stability_score: IoU of the mask cut a little higher and a little lower, in [0, 1].
        point_xy: The point that it was drawn for, pixels of the image.
        view_xyxy: The part of the image in which it was found, pixels.
    """

    instance: Instance
    stability_score: float
    point_xy: tuple[float, float]
    view_xyxy: Window


def generate_masks(
    sam: PromptableSegmenter,
    image_rgb: NDArray[np.uint8],
    settings: AutomaticSettings = DEFAULT_SETTINGS,
    *,
    tiles: Tiles | None = None,
    report: ReportBatches | None = None,
) -> tuple[AutomaticMask, ...]:
    """Find every mask of an image.

    Args:
        sam: Draws the masks.
        image_rgb: uint8, shape (H, W, 3).
        settings: What is tried and what is kept.
        tiles: Search tiles beside the whole image, and join the masks that their seams cut. None: search the layers of
            crops in the settings, and drop masks that the edge of a crop cuts.
        report: Called with (batches of points done, batches of points in all) after each batch, or None.

    Returns:
        The masks, those of the best quality first.
    """
    height, width, _ = image_rgb.shape
    size_hw = (height, width)
    if tiles is None:
        views = crop_layers(size_hw, num_layers=settings.crop_n_layers, overlap_ratio=settings.crop_overlap_ratio)
    else:
        views = [((0, 0, width, height), 0), *((window, 1) for window in tiles.windows(size_hw))]
    search = _Search(sam, image_rgb, settings)
    num_batches = sum(search.num_batches(layer) for _, layer in views)
    done = 0
    found: list[list[AutomaticMask]] = []
    for view, layer in views:
        candidates: list[Candidate] = []
        for batch in search.candidates(view, layer):
            candidates += batch
            done += 1
            if report is not None:
                report(done, num_batches)
        found.append(search.draw(candidates, view))
    if tiles is None:
        return _finish([mask for masks in found for mask in masks if not _is_cut_by_crop(mask, size_hw)], settings)
    return _finish([*found[0], *_join_tiles([mask for masks in found[1:] for mask in masks])], settings)


def _is_cut_by_crop(mask: AutomaticMask, size_hw: tuple[int, int]) -> bool:
    return any(is_cut(mask.instance.box_xyxy, mask.view_xyxy, size_hw, tolerance=NEAR_EDGE))


def _join_tiles(found: Sequence[AutomaticMask]) -> list[AutomaticMask]:
    joined = join_pieces([Piece(mask.instance, mask.view_xyxy) for mask in found])
    return [replace(found[each.best], instance=each.instance, view_xyxy=each.view_xyxy) for each in joined]


@dataclass(frozen=True, eq=False)
class _Search:
    """The search for masks in views of one image; fields as the arguments of `generate_masks`."""

    sam: PromptableSegmenter
    image_rgb: NDArray[np.uint8]
    settings: AutomaticSettings

    def points_per_side(self, layer: int) -> int:
        """Give the points along each side of a view of a layer."""
        return max(1, self.settings.points_per_side // self.settings.crop_n_points_downscale_factor**layer)

    def num_batches(self, layer: int) -> int:
        """Count the batches of points of a view of a layer."""
        return math.ceil(self.points_per_side(layer) ** 2 / self.settings.points_per_batch)

    def candidates(self, view: Window, layer: int) -> Iterator[list[Candidate]]:
        """Yield the good masks of a view, a list for each batch of points."""
        left, top, right, bottom = view
        embedding = self.sam.encode(np.ascontiguousarray(self.image_rgb[top:bottom, left:right]))
        points_xy = point_grid(self.points_per_side(layer), (bottom - top, right - left))
        for start in range(0, len(points_xy), self.settings.points_per_batch):
            batch = points_xy[start : start + self.settings.points_per_batch]
            output = self.sam.segment(
                embedding,
                points_xy=batch[:, None],
                point_labels=np.ones((len(batch), 1), dtype=np.int64),
                choice="levels",
            )
            yield [
                *judge(
                    output,
                    batch,
                    min_quality=self.settings.pred_iou_thresh,
                    min_stability=self.settings.stability_score_thresh,
                    offset=self.settings.stability_score_offset,
                )
            ]

    def draw(self, candidates: Sequence[Candidate], view: Window) -> list[AutomaticMask]:
        """Draw the masks of a view that no better one covers, those of the best quality first."""
        left, top, right, bottom = view
        kept = suppress_boxes(
            np.array([each.box_in_view((bottom - top, right - left)) for each in candidates]).reshape(-1, 4),
            np.array([each.mask_quality for each in candidates]),
            iou_threshold=self.settings.box_nms_thresh,
        )
        masks = []
        for candidate in (candidates[index] for index in kept):
            instance = draw(candidate, view, (self.image_rgb.shape[0], self.image_rgb.shape[1]))
            if instance is not None:
                x, y = candidate.point_xy
                masks.append(AutomaticMask(instance, candidate.stability_score, (left + x, top + y), view))
        return masks


def _finish(found: Sequence[AutomaticMask], settings: AutomaticSettings) -> tuple[AutomaticMask, ...]:
    """Drop what several views found, clean the rest."""
    view_areas = box_areas(np.array([mask.view_xyxy for mask in found]).reshape(-1, 4))
    found = _without_overlaps(found, 1 / view_areas, iou_threshold=settings.crop_nms_thresh)
    scores = [mask.instance.mask_quality or 0.0 for mask in found]
    kept = suppress_instances([mask.instance for mask in found], scores, iou_threshold=settings.mask_nms_thresh)
    found = [found[index] for index in kept]
    if settings.min_mask_region_area > 0:
        cleaned = [
            replace(mask, instance=clean_instance(mask.instance, min_area=settings.min_mask_region_area))
            for mask in found
        ]
        # Those that needed no cleaning are the better ones.
        unchanged = np.array([float(a.instance is b.instance) for a, b in zip(cleaned, found, strict=True)])
        threshold = max(settings.box_nms_thresh, settings.crop_nms_thresh)
        found = _without_overlaps(cleaned, unchanged, iou_threshold=threshold)
    return tuple(sorted(found, key=lambda mask: rank_instance(mask.instance), reverse=True))


def _without_overlaps(
    masks: Sequence[AutomaticMask], scores: NDArray[np.float64], *, iou_threshold: float
) -> list[AutomaticMask]:
    boxes_xyxy = np.array([mask.instance.box_xyxy for mask in masks]).reshape(-1, 4)
    return [masks[index] for index in suppress_boxes(boxes_xyxy, scores, iou_threshold=iou_threshold)]


def clean_instance(instance: Instance, *, min_area: int) -> Instance:
    """Fill holes and drop islands of fewer than `min_area` pixels; gives the same object where it has none."""
    left, top, right, bottom = instance.box_xyxy
    height, width = instance.size_hw
    # What surrounds the object is one with all that lies outside its box, and no hole.
    margins = ((int(top > 0), int(bottom < height)), (int(left > 0), int(right < width)))
    mask = np.pad(instance.box_mask, margins)
    outside = np.pad(np.zeros_like(instance.box_mask), margins, constant_values=True)
    filled = fill_small_holes(mask, min_area=min_area, endless=outside)
    cleaned = drop_small_islands(filled, min_area=min_area)
    if (cleaned == mask).all():
        return instance
    window = (left - margins[1][0], top - margins[0][0], right + margins[1][1], bottom + margins[0][1])
    placed = place_mask(cleaned, window, instance.size_hw, score=instance.score, mask_quality=instance.mask_quality)
    assert placed is not None  # the largest island stays
    return placed
