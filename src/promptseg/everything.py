"""Everything in an image: every mask that SAM finds, each named from a list of names where one fits.

Names by mask pooling as in Wang et al. 2024, "Open-Vocabulary Segmentation with Unpaired Mask-Text Supervision",
arXiv:2402.08960; here a text model's pixel probabilities are pooled, and only names that it calls present are tried.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from promptseg.errors import PromptError
from promptseg.images import DEFAULT_LIMITS, ImageLimits, ImageSource, read_image
from promptseg.ops.overlay import OverlayLayer, draw_overlay
from promptseg.ops.resize import sigmoid
from promptseg.ops.windows import Tiles
from promptseg.regions import SearchRegion, Within
from promptseg.results import Instance, QueryResult, Segmentation
from promptseg.sam.automatic import AutomaticSettings, ReportBatches, generate_masks
from promptseg.sam.base import OUTSIDE_LOGIT, PromptableSegmenter
from promptseg.sam.overlap import mask_in

UNNAMED = "unnamed"
# SAM's own stability threshold, 0.95, was chosen for its largest encoder; the logits of small ones are softer.
SETTINGS = AutomaticSettings(stability_score_thresh=0.9)
# A name fits where its mean probability over the mask is at least this.
MIN_FIT = 0.5
# A mask is a part of another one of its name where this share of it lies inside, and it is smaller than that share of
# the other. A larger one may be one of a group.
MIN_INSIDE_SHARE = 0.9
MAX_PART_SHARE = 0.2
# Pixels of a mask whose probabilities are pooled, at most.
NUM_SAMPLES = 4096
# Longer side of the map that a result of unnamed masks keeps.
MAP_SIDE = 256


class TextPredictor(Protocol):
    """A predictor that takes phrases, as `promptseg.Predictor` does."""

    @property
    def origin(self) -> str:
        """Its checkpoint and threshold."""
        ...

    def tiled(self, side: int = 1024, *, overlap: int | None = None) -> "TextPredictor":
        """Give one for large images."""
        ...

    def with_limits(self, limits: ImageLimits) -> "TextPredictor":
        """Give one that refuses images beyond other limits."""
        ...

    def segment(self, image: Any, queries: Any) -> Segmentation:
        """Segment an image by phrases."""
        ...


def segment_everything(
    sam: PromptableSegmenter,
    image: ImageSource,
    *,
    names: Iterable[str] = (),
    predictor: TextPredictor | None = None,
    settings: AutomaticSettings = SETTINGS,
    tiles: Tiles | None = None,
    limits: ImageLimits = DEFAULT_LIMITS,
    report: ReportBatches | None = None,
    within: Within | None = None,
) -> Segmentation:
    """Find every mask of an image, and name those that one of the names fits.

    Args:
        sam: Finds the masks; `sam.load.load_sam` gives one.
        image: An image of any kind that `read_image` takes.
        names: Phrases, or one; none: no mask is named.
        predictor: Segments the image by the names; needed for names.
        settings: How masks are searched and which are kept.
        tiles: For a large image: search tiles too, by SAM and predictor, and join the masks that their seams cut.
        limits: Larger images are refused.
        report: Called with (batches of points done, batches of points in all) after each batch, or None.
        within: Look only here, as `Predictor.segment`; masks that reach out of a region are cut off at its edge.

    Returns:
        One result for each name, in order, and a last one, "unnamed", for all other masks; small parts of a named mask
        are unnamed too, unless another name fits them better. `instances` are the masks. The score of a named one is
        the name's mean probability over it times the name's presence, that of an unnamed one is 1; `mask_quality` is
        SAM's estimate of the mask's IoU.

    Raises:
        ImageError: The image can't be read, or is too large.
        OutsideImageError: `within` lies outside the image.
        PromptError: A name is malformed, there is no predictor for names, or `sam` is only a name.
    """
    if isinstance(sam, str):
        raise PromptError(f"{sam!r} is only a name: give the model, load_sam({sam!r}, ...) of promptseg.sam.load")
    if hasattr(sam, "prompt_kinds"):  # a predictor, or the segmenter of one
        raise PromptError(f"sam is what load_sam of promptseg.sam.load gives, not {type(sam).__name__}")
    names = (names,) if isinstance(names, str) else tuple(names)
    if names and predictor is None:
        raise PromptError(
            "names need a predictor that takes phrases: promptseg.load().segment_everything(image, names)"
        )
    image_rgb = read_image(image, limits=limits)
    if within is not None:
        region = SearchRegion.read(within, image_rgb.shape[:2])
        found = segment_everything(
            sam, np.ascontiguousarray(region.cut(image_rgb)), names=names, predictor=predictor, settings=settings,
            tiles=tiles, limits=limits, report=report,
        )  # fmt: skip
        return replace(found, image_rgb=image_rgb, results=tuple(map(region.place, found)))
    answers: Segmentation | None = None
    if names and predictor is not None:
        if tiles is not None:
            predictor = predictor.tiled(tiles.side, overlap=tiles.overlap)
        answers = predictor.with_limits(limits).segment(image_rgb, names)
    masks = [mask.instance for mask in generate_masks(sam, image_rgb, settings, tiles=tiles, report=report)]
    names_of = [_best_name(instance, answers) for instance in masks]
    parts = _find_parts(masks, [index for index, _ in names_of])
    named: list[list[Instance]] = [[] for _ in names]
    unnamed = []
    for position, (instance, (index, score)) in enumerate(zip(masks, names_of, strict=True)):
        if index is None or position in parts:
            unnamed.append(instance)
        else:
            named[index].append(replace(instance, score=score))
    results = [
        # only a name that is present is given to a mask: nothing is unsure
        replace(answer, model_instances=tuple(found), unsure_threshold=None)
        for answer, found in zip(answers or (), named, strict=True)
    ]
    presence_threshold = answers.presence_threshold if answers else 0.5
    mask_threshold = answers.mask_threshold if answers else 0.5
    results.append(
        QueryResult(
            label=UNNAMED,
            presence=float(bool(unnamed)),
            mask_logits=_union_map(unnamed, (image_rgb.shape[0], image_rgb.shape[1])),
            size_hw=(image_rgb.shape[0], image_rgb.shape[1]),
            presence_threshold=presence_threshold,
            mask_threshold=mask_threshold,
            model_instances=tuple(unnamed),
        )
    )
    model = "everything" if answers is None else f"everything + {answers.model}"
    fingerprint = "" if answers is None else answers.fingerprint
    return Segmentation(image_rgb, tuple(results), model, presence_threshold, mask_threshold, fingerprint)


def describe_origin(
    sam: str, predictor: TextPredictor | None, settings: AutomaticSettings = SETTINGS, tiles: Tiles | None = None
) -> str:
    """Describe the models, for a data set that holds the results of one only: see `Predictor.origin`.

    Args:
        sam: Its name or directory.
        predictor: Names masks; None: they stay unnamed.
        settings: As `segment_everything` takes them.
        tiles: Likewise.
    """
    named = "unnamed" if predictor is None else f"named by {predictor.origin}"
    return f"everything by {sam}, {settings}, {tiles or 'no tiles'}, {named}"


def draw_everything(found: Segmentation) -> Image.Image:
    """Draw every mask in a color of its own, and its name where it has one."""
    drawn = [(result.label, instance) for result in found for instance in result.instances]
    return draw_overlay(
        found.image_rgb,
        [
            OverlayLayer(instance.mask, "" if label == UNNAMED else label, color_index)
            for color_index, (label, instance) in enumerate(drawn)
        ],
    )


def _best_name(instance: Instance, answers: Sequence[QueryResult] | None) -> tuple[int | None, float]:
    """Give the name with the highest mean probability over a mask, and that times presence; None: none fits."""
    present = [index for index, answer in enumerate(answers or ()) if answer.is_present]
    if not answers or not present:
        return None, 0.0
    y, x = np.nonzero(instance.box_mask)
    step = -(-len(y) // NUM_SAMPLES)
    left, top = instance.box_xyxy[:2]
    fits = [_mean_probability(answers[index], y[::step] + top, x[::step] + left) for index in present]
    best = int(np.argmax(fits))
    if fits[best] < MIN_FIT:
        return None, 0.0
    return present[best], fits[best] * answers[present[best]].presence


def _find_parts(masks: Sequence[Instance], name_indexes: Sequence[int | None]) -> set[int]:
    """Find masks that are only parts of another one of their name, such as the eyes of a cat: small, and inside it."""
    areas = [instance.area for instance in masks]
    return {
        part
        for part, instance in enumerate(masks)
        for whole, other in enumerate(masks)
        if name_indexes[part] is not None
        and name_indexes[part] == name_indexes[whole]
        and areas[part] < MAX_PART_SHARE * areas[whole]
        and (mask_in(other, instance.box_xyxy) & instance.box_mask).sum() >= MIN_INSIDE_SHARE * areas[part]
    }


def _mean_probability(answer: QueryResult, y: NDArray[np.int64], x: NDArray[np.int64]) -> float:
    """Average the probability at pixels of the image, read off the nearest cell of the map."""
    (rows, columns), (height, width) = answer.mask_logits.shape, answer.size_hw
    return float(sigmoid(answer.mask_logits[y * rows // height, x * columns // width]).mean())


def _union_map(instances: Sequence[Instance], size_hw: tuple[int, int]) -> NDArray[np.float32]:
    """Draw masks of an image together on a small map: as logits, surely inside or surely outside."""
    height, width = size_hw
    shrink = max(1.0, max(size_hw) / MAP_SIDE)
    rows, columns = max(1, round(height / shrink)), max(1, round(width / shrink))
    # The pixel in the middle of each cell.
    y = ((np.arange(rows) + 0.5) * height / rows).astype(np.int64)
    x = ((np.arange(columns) + 0.5) * width / columns).astype(np.int64)
    union = np.zeros((rows, columns), dtype=np.bool_)
    for instance in instances:
        left, top, right, bottom = instance.box_xyxy
        inside_y, inside_x = (y >= top) & (y < bottom), (x >= left) & (x < right)
        union[np.ix_(inside_y, inside_x)] |= instance.box_mask[np.ix_(y[inside_y] - top, x[inside_x] - left)]
    return np.where(union, -OUTSIDE_LOGIT, OUTSIDE_LOGIT).astype(np.float32)
