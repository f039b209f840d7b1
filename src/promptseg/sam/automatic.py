"""Every mask of an image: a grid of points, three granularities each, and only the good and different ones stay.

Source:
    Kirillov et al. 2023, "Segment Anything", arXiv:2304.02643, appendix B; facebookresearch/segment-anything,
    segment_anything/automatic_mask_generator.py @ 006dbe5 (Apache-2.0): steps, settings and defaults.
    Differs: any masker; logits are resized once, not twice; where a view is larger than what the masker sees of it, its
    masks are judged at that size and drawn at the view's own; a box ends after its last pixel, not on it; masks are
    compared by their pixels too, not by their boxes only; tiles, whose masks are put together across the seams.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from promptseg.errors import PromptError
from promptseg.ops.boxes import box_areas, suppress_boxes
from promptseg.ops.regions import drop_small_islands, fill_small_holes
from promptseg.ops.windows import Tiles, Window, crop_layers, point_grid
from promptseg.results import Instance
from promptseg.sam.base import Masker
from promptseg.sam.candidates import Candidate, draw, judge
from promptseg.sam.overlap import place_mask, suppress_instances
from promptseg.sam.seams import Piece, is_cut, join_pieces

# A box that comes so near to the edge of a crop, in pixels, is that of a cut object.
NEAR_EDGE = 20


@dataclass(frozen=True)
class AutomaticSettings:
    """What is tried and what is kept; names and defaults are those of SAM's generator, `mask_nms_thresh` is ours.

    Attributes:
        points_per_side: Points along each side of the image; their square is the number of prompts.
        points_per_batch: Prompts that the masker is given at once.
        pred_iou_thresh: The masker's own score must be above this.
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
    """One mask that was found without being asked for.

    Attributes:
        instance: Box and mask; its score is the masker's own, which estimates the mask's IoU.
        stability_score: IoU of the mask cut a little higher and a little lower, in [0, 1].
        point_xy: The point that brought it, pixels of the image.
        view_xyxy: The part of the image in which it was found, pixels.
    """

    instance: Instance
    stability_score: float
    point_xy: tuple[float, float]
    view_xyxy: Window


def generate_masks(
    masker: Masker,
    image_rgb: NDArray[np.uint8],
    settings: AutomaticSettings = DEFAULT_SETTINGS,
    *,
    tiles: Tiles | None = None,
) -> tuple[AutomaticMask, ...]:
    """Find every mask of an image.

    Args:
        masker: Any masker.
        image_rgb: uint8, shape (H, W, 3).
        settings: What is tried and what is kept.
        tiles: Search tiles beside the whole image, and put together what their seams cut. None: search the layers of
            crops that the settings say, and drop what the edge of a crop cuts.

    Returns:
        The masks, the best scored first.
    """
    height, width, _ = image_rgb.shape
    size_hw = (height, width)
    if tiles is not None:
        found = [*_search(masker, image_rgb, (0, 0, width, height), settings, layer=0)]
        found += _search_tiles(masker, image_rgb, tiles.windows(size_hw), settings)
        return _finish(found, settings)
    found = []
    layers = crop_layers(size_hw, num_layers=settings.crop_n_layers, overlap_ratio=settings.crop_overlap_ratio)
    for view, layer in layers:
        found += [
            mask
            for mask in _search(masker, image_rgb, view, settings, layer=layer)
            if not any(is_cut(mask.instance.box_xyxy, view, size_hw, tolerance=NEAR_EDGE))
        ]
    return _finish(found, settings)


def _search_tiles(
    masker: Masker, image_rgb: NDArray[np.uint8], windows: Sequence[Window], settings: AutomaticSettings
) -> list[AutomaticMask]:
    found = [mask for window in windows for mask in _search(masker, image_rgb, window, settings, layer=1)]
    joined = join_pieces([Piece(mask.instance, mask.view_xyxy) for mask in found])
    return [replace(found[each.best], instance=each.instance, view_xyxy=each.view_xyxy) for each in joined]


def _search(
    masker: Masker, image_rgb: NDArray[np.uint8], view: Window, settings: AutomaticSettings, *, layer: int
) -> Iterator[AutomaticMask]:
    """Find the masks of one view, the best scored first."""
    left, top, right, bottom = view
    view_hw = (bottom - top, right - left)
    candidates = _candidates(masker, np.ascontiguousarray(image_rgb[top:bottom, left:right]), settings, layer=layer)
    kept = suppress_boxes(
        np.array([each.box_in_view(view_hw) for each in candidates]).reshape(-1, 4),
        np.array([each.score for each in candidates]),
        iou_threshold=settings.box_nms_thresh,
    )
    for candidate in (candidates[index] for index in kept):
        instance = draw(candidate, view, (image_rgb.shape[0], image_rgb.shape[1]))
        if instance is not None:
            x, y = candidate.point_xy
            yield AutomaticMask(instance, candidate.stability_score, (left + x, top + y), view)


def _candidates(
    masker: Masker, view_rgb: NDArray[np.uint8], settings: AutomaticSettings, *, layer: int
) -> list[Candidate]:
    embedding = masker.encode(view_rgb)
    points_per_side = max(1, settings.points_per_side // settings.crop_n_points_downscale_factor**layer)
    points_xy = point_grid(points_per_side, (view_rgb.shape[0], view_rgb.shape[1]))
    found: list[Candidate] = []
    for start in range(0, len(points_xy), settings.points_per_batch):
        batch = points_xy[start : start + settings.points_per_batch]
        output = masker.segment(
            embedding,
            points_xy=torch.from_numpy(batch[:, None]).float(),
            point_labels=torch.ones(len(batch), 1),
            choice="levels",
        )
        found += judge(
            output,
            batch,
            min_score=settings.pred_iou_thresh,
            min_stability=settings.stability_score_thresh,
            offset=settings.stability_score_offset,
        )
    return found


def _finish(found: Sequence[AutomaticMask], settings: AutomaticSettings) -> tuple[AutomaticMask, ...]:
    """Drop what several views found, clean the rest."""
    view_areas = box_areas(np.array([mask.view_xyxy for mask in found]).reshape(-1, 4))
    found = _without_overlaps(found, 1 / view_areas, iou_threshold=settings.crop_nms_thresh)
    scores = [mask.instance.score for mask in found]
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
    return tuple(sorted(found, key=lambda mask: -mask.instance.score))


def _without_overlaps(
    masks: Sequence[AutomaticMask], scores: NDArray[np.float64], *, iou_threshold: float
) -> list[AutomaticMask]:
    boxes_xyxy = np.array([mask.instance.box_xyxy for mask in masks]).reshape(-1, 4)
    return [masks[index] for index in suppress_boxes(boxes_xyxy, scores, iou_threshold=iou_threshold)]


def clean_instance(instance: Instance, *, min_area: int) -> Instance:
    """Fill holes and drop islands of fewer than `min_area` pixels; the instance itself where it has none."""
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
    placed = place_mask(cleaned, window, instance.size_hw, score=instance.score)
    assert placed is not None  # the largest island stays
    return placed
