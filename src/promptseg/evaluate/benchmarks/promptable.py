"""Promptable segmentation: IoU of the masks for one point and for one box on each object.

    point         the mask that the model scores best, for the point deepest inside the object
    point_oracle  the best of that point's masks by the ground truth
    grid_oracle   the best of the masks of a grid of points over the image by the ground truth
    box           the single mask for the object's tight box
    box_oracle    the best of the box's masks by the ground truth, where the model has several

Wang et al. 2024, arXiv:2402.08960, report "1-pt IoU (oracle)" with a grid of 20 x 20 points, and "1-box IoU". They do
not say whether the best mask is that of the whole grid or of one point, so both have names of their own here.

Shapes: N objects, H W pixels of the image.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from promptseg.data.sample import Kind, Sample, ignore_mask, instance_masks
from promptseg.errors import DataError
from promptseg.images import read_image
from promptseg.metrics import bootstrap_interval
from promptseg.metrics.statistics import weighted_mean
from promptseg.ops.masks import inner_points, tight_box
from promptseg.ops.windows import point_grid
from promptseg.sam.base import PromptableSegmenter, SamEmbedding, SamOutput

Mask = NDArray[np.bool_]
Floats = NDArray[np.float64]

POINTS_PER_CALL = 16


@dataclass(frozen=True)
class PromptableSettings:
    """Which objects are measured, and how.

    Attributes:
        points_per_side: Points along each side of the grid; None: the grid is left out, which takes most of the time.
        max_objects: Most objects of an image, the largest first; None: all.
        min_pixels: Smaller objects are left out.
        kinds: Kinds of targets whose objects are measured; None: all.

    Raises:
        DataError: A number is below 1.
    """

    points_per_side: int | None = 20
    max_objects: int | None = None
    min_pixels: int = 1
    kinds: tuple[Kind, ...] | None = None

    def __post_init__(self) -> None:
        for name in ("points_per_side", "max_objects", "min_pixels"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise DataError(f"{name} must be 1 or more, got {value}")


DEFAULT_SETTINGS = PromptableSettings()


@dataclass(frozen=True)
class ObjectScore:
    """The IoU of each kind of prompt for one object; the module's docstring explains the kinds.

    Attributes:
        sample_id: Its image.
        ious: IoU by kind.
    """

    sample_id: str
    ious: dict[str, float]


@dataclass(frozen=True)
class MeanIou:
    """A mean over objects, with its 95 % interval over images.

    Attributes:
        mean: Mean IoU, in [0, 1].
        low: Lower end; nan for fewer than two images.
        high: Upper end.
    """

    mean: float
    low: float
    high: float


def score_objects(
    sam: PromptableSegmenter, samples: Iterable[Sample], settings: PromptableSettings = DEFAULT_SETTINGS
) -> Iterator[ObjectScore]:
    """Measure a promptable segmenter on every object of annotated images.

    Args:
        sam: Masks the prompts.
        samples: Images with masks; unlabeled pixels do not count.
        settings: Which objects are measured, and how.

    Raises:
        ImageError: An image can't be read.
        DataError: A mask is malformed.
    """
    for sample in samples:
        objects, unknown = pick_objects(sample, settings)
        if not len(objects):
            continue
        embedding = sam.encode(read_image(sample.image))
        columns = _score_prompts(sam, embedding, objects, unknown)
        if settings.points_per_side is not None:
            columns["grid_oracle"] = _score_grid(sam, embedding, objects, unknown, settings.points_per_side)
        for index in range(len(objects)):
            yield ObjectScore(sample.sample_id, {kind: float(ious[index]) for kind, ious in columns.items()})


def summarize(scores: Sequence[ObjectScore], *, seed: int = 0) -> dict[str, MeanIou]:
    """Average the IoU of each kind over objects.

    Args:
        scores: Of one data set.
        seed: Seed of the interval.

    Raises:
        DataError: There is no object.
    """
    if not scores:
        raise DataError("no image has an object with a mask")
    images = np.unique([score.sample_id for score in scores], return_inverse=True)[1]
    means = {}
    for kind in scores[0].ious:
        values = np.array([score.ious[kind] for score in scores])
        low, high = bootstrap_interval(partial(weighted_mean, values), images, seed=seed)
        means[kind] = MeanIou(float(values.mean()), low, high)
    return means


def pick_objects(sample: Sample, settings: PromptableSettings) -> tuple[Mask, Mask]:
    """Decode the largest objects of an image, and the pixels that are unknown for each: two arrays (N, H, W)."""
    found: list[tuple[Mask, Mask]] = []
    for target in sample.with_evidence("mask"):
        if settings.kinds is not None and target.kind not in settings.kinds:
            continue
        unknown = ignore_mask(target, sample.size_hw)
        found += [(mask, unknown) for mask in instance_masks(target, sample.size_hw)]
    found = [(mask, unknown) for mask, unknown in found if mask.sum() >= settings.min_pixels]
    found = sorted(found, key=lambda pair: -int(pair[0].sum()))[: settings.max_objects]
    none = np.zeros((0, *sample.size_hw), dtype=np.bool_)
    objects, unknown_pixels = zip(*found, strict=True) if found else (none, none)
    return np.array(objects), np.array(unknown_pixels)


def _score_prompts(
    sam: PromptableSegmenter, embedding: SamEmbedding, objects: Mask, unknown: Mask
) -> dict[str, Floats]:
    """Compute the IoU for a point on each object and for its box, by kind, each (N,)."""
    points_xy = np.array([inner_points(mask, 1) for mask in objects])
    boxes_xyxy = np.array([tight_box(mask) for mask in objects], dtype=np.float64)
    labels = np.ones(points_xy.shape[:2], dtype=np.int64)
    by_point = sam.segment(embedding, points_xy=points_xy, point_labels=labels, choice="levels")
    of_point = _own_ious(by_point, objects, unknown)
    single_box = _own_ious(sam.segment(embedding, boxes_xyxy=boxes_xyxy), objects, unknown)
    levels_of_box = _own_ious(sam.segment(embedding, boxes_xyxy=boxes_xyxy, choice="levels"), objects, unknown)
    return {
        "point": of_point[np.arange(len(objects)), by_point.scores.argmax(axis=1)],
        "point_oracle": of_point.max(axis=1),
        "box": single_box[:, 0],
        "box_oracle": levels_of_box.max(axis=1),
    }


def _score_grid(
    sam: PromptableSegmenter, embedding: SamEmbedding, objects: Mask, unknown: Mask, points_per_side: int
) -> Floats:
    """Compute the best IoU of each object with any mask of a grid of points, (N,)."""
    points_xy = point_grid(points_per_side, embedding.size_hw)[:, None]
    best = np.zeros(len(objects))
    for start in range(0, len(points_xy), POINTS_PER_CALL):
        batch = points_xy[start : start + POINTS_PER_CALL]
        labels = np.ones(batch.shape[:2], dtype=np.int64)
        output = sam.segment(embedding, points_xy=batch, point_labels=labels, choice="levels")
        masks = (output.image_logits() > 0).reshape(-1, *embedding.size_hw)
        np.maximum(best, mask_ious(masks, objects, unknown).max(axis=0), out=best)
    return best


def _own_ious(output: SamOutput, objects: Mask, unknown: Mask) -> Floats:
    """Compute the IoU of every candidate of prompt i with object i, (N, K)."""
    return np.array(
        [
            mask_ious(candidates, objects[index : index + 1], unknown[index : index + 1])[:, 0]
            for index, candidates in enumerate(output.image_logits() > 0)
        ]
    )


def mask_ious(masks: Mask, objects: Mask, unknown: Mask) -> Floats:
    """Compute the IoU of every mask with every object.

    Args:
        masks: bool, shape (M, H, W).
        objects: bool, shape (N, H, W), none empty.
        unknown: Pixels of no object that do not count, bool, shape (N, H, W).

    Returns:
        Shape (M, N).
    """
    predicted, true, ignored = (each.reshape(len(each), -1).astype(np.float32) for each in (masks, objects, unknown))
    shared = predicted @ true.T  # sums of ones, exact in float32 up to 2 ** 24 pixels
    counted = predicted.sum(axis=1, keepdims=True) - predicted @ ignored.T
    return np.asarray(shared / (counted + true.sum(axis=1) - shared), dtype=np.float64)
