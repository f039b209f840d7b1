"""Evaluate panoptic maps: PQ, SQ and RQ of segments, and mIoU of the names of pixels.

Every class of the list is one pair of each image, as in an evaluation by phrases; its record holds the counts of its
pixels in the map and of its segments.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from promptseg.data.sample import Sample
from promptseg.data.true_segments import TrueSegments, build_true_segments
from promptseg.evaluate.definitions import MetricDefinition, count_column, define_ratio
from promptseg.evaluate.labeled_queries import LabeledQuery
from promptseg.evaluate.records import PairRecord
from promptseg.evaluate.runner import EvaluationExample
from promptseg.evaluate.scoring import QueryPrediction
from promptseg.language.class_list import NamedClass
from promptseg.metrics import (
    PixelCounts,
    SegmentCounts,
    class_qualities,
    count_segments,
    mean_class_iou,
    mean_true_class_iou,
)
from promptseg.metrics.statistics import Floats, mean_defined, sum_by_class
from promptseg.prompts import QueryLike
from promptseg.results.panoptic import Panoptic, Unlabelled
from promptseg.results.query_result import Status

QUALITIES = ("pq", "sq", "rq")


class PanopticPredictor(Protocol):
    """A model that makes panoptic maps, as `promptseg.Predictor` does."""

    def encode(self, image: Any, /) -> Any:
        """Encode an image once."""

    def panoptic(self, image: Any, names: Any, *, unlabelled: Unlabelled) -> Panoptic:
        """Give every pixel a class or none."""


@dataclass(frozen=True)
class PanopticModel:
    """A predictor as a model under evaluation, which answers all classes of a list by one map.

    Attributes:
        predictor: Makes the maps.
        classes: Its classes; the queries of every image must be these, in order.
        unlabelled: What becomes of pixels of which no class is sure.
    """

    predictor: PanopticPredictor
    classes: tuple[NamedClass, ...]
    unlabelled: Unlabelled

    def encode(self, image: Path | bytes, /) -> Any:
        """Encode an image once."""
        return self.predictor.encode(image)

    def segment(self, embedding: Any, queries: Sequence[QueryLike], /) -> Sequence["ClassPrediction"]:
        """Make the map, and give the part of each class."""
        found = self.predictor.panoptic(embedding, self.classes, unlabelled=self.unlabelled)
        return tuple(ClassPrediction(found, index) for index in range(len(queries)))


@dataclass(frozen=True, eq=False)
class ClassPrediction:
    """The part of a class in a map; what every prediction of an evaluation has.

    Attributes:
        found: The map.
        class_index: The class.
    """

    found: Panoptic
    class_index: int

    @property
    def mask(self) -> NDArray[np.bool_]:
        """The pixels of the class, bool, shape (H, W)."""
        return self.found.semantic == self.class_index

    @property
    def probability(self) -> NDArray[np.float32]:
        """1 inside the mask, 0 outside it."""
        return self.mask.astype(np.float32)

    @property
    def mask_logits(self) -> NDArray[np.float32]:
        """The mask as logits."""
        return np.where(self.mask, np.float32(1), np.float32(-1))

    @property
    def presence(self) -> float:
        """Presence of the class."""
        return self.found.presence[self.class_index]

    @property
    def is_present(self) -> bool:
        """Whether the class has a pixel."""
        return any(segment.label == self.found.labels[self.class_index] for segment in self.found.segments)

    @property
    def status(self) -> Status:
        """A pixel of a map has a class or none: nothing is unsure."""
        return "present" if self.is_present else "absent"

    @property
    def mask_threshold(self) -> float:
        """Of `probability`."""
        return 0.5


def panoptic_examples(samples: Iterable[Sample], classes: Sequence[NamedClass]) -> Iterator[EvaluationExample]:
    """Make an example of every annotated image: each class is a query of it, in order."""
    for sample in samples:
        load_truth = partial(build_true_segments, sample, classes)
        yield map_example(sample.sample_id, sample.image, load_truth, classes, sequence=sample.sequence)


def map_example(
    sample_id: str,
    image: Path | bytes,
    load_truth: Callable[[], TrueSegments],
    classes: Sequence[NamedClass],
    *,
    sequence: str | None = None,
) -> EvaluationExample:
    """Make an example of an image and its true map.

    Args:
        sample_id: Id of the image.
        image: Its file, or its encoded bytes.
        load_truth: Reads the true map.
        classes: The classes of the map.
        sequence: The video that the image was taken from, or None.
    """
    return EvaluationExample(
        sample_id,
        image,
        partial(_build_queries, load_truth, classes),
        partial(score_map, load_truth=load_truth, classes=classes),
        sequence,
    )


def _build_queries(load_truth: Callable[[], TrueSegments], classes: Sequence[NamedClass]) -> list[LabeledQuery]:
    truth = load_truth()
    known = truth.ids > 0
    nothing = np.zeros(truth.ids.shape, dtype=np.bool_)
    seen = set(truth.class_of_id.values())
    return [
        LabeledQuery(one.label, one.kind, truth.mask(index) if index in seen else nothing, known, "human")
        for index, one in enumerate(classes)
    ]


def score_map(
    queries: Sequence[LabeledQuery],
    predictions: Sequence[QueryPrediction],
    *,
    load_truth: Callable[[], TrueSegments],
    classes: Sequence[NamedClass],
) -> list[PairRecord]:
    """Count the pixels and the segments of each class in the map of an image.

    Args:
        queries: One for each class.
        predictions: Of `PanopticModel`.
        load_truth: Reads the true map.
        classes: The classes of the map.
    """
    truth = load_truth()
    found = _map_of(predictions)
    index_of = {label: index for index, label in enumerate(found.labels)}
    segments = count_segments(
        found.segment_ids,
        {segment.id: index_of[segment.label] for segment in found.segments},
        truth.ids,
        truth.class_of_id,
        crowd_ids=truth.crowd_ids,
    )
    pixels = _count_classes(found.semantic, truth, len(classes))
    return [
        PairRecord(
            phrase=one.label,
            kind=one.kind,
            source="human" if counts.actual else None,
            present=bool(counts.actual),
            presence=float(found.presence[index]),
            kept=bool(counts.predicted),
            gated_counts=counts,
            segment_counts=segments.get(index, SegmentCounts()),
        )
        for index, (one, counts) in enumerate(zip(classes, pixels, strict=True))
    ]


def _map_of(predictions: Sequence[QueryPrediction]) -> Panoptic:
    first = predictions[0]
    assert isinstance(first, ClassPrediction)  # these examples are for `PanopticModel` alone
    return first.found


def _count_classes(semantic: NDArray[np.int32], truth: TrueSegments, num_classes: int) -> list[PixelCounts]:
    """Count the pixels of every class where the truth is known."""
    class_of_id = np.full(int(truth.ids.max(initial=0)) + 1, -1, dtype=np.int64)
    for number, class_index in truth.class_of_id.items():
        class_of_id[number] = class_index
    true_classes = class_of_id[truth.ids]
    known = true_classes >= 0
    predicted, actual = semantic[known], true_classes[known]
    shared, won, true = (
        np.bincount(values[values >= 0], minlength=num_classes)
        for values in (np.where(predicted == actual, actual, -1), predicted, actual)
    )
    return [
        PixelCounts(int(shared[index]), int(won[index]), int(true[index]), int(known.sum()))
        for index in range(num_classes)
    ]


def define_semantic(pairs: Sequence[PairRecord], _: Sequence[str | None]) -> Iterator[MetricDefinition]:
    """List mIoU in two definitions, pixel accuracy, and the IoU of each class.

    Args:
        pairs: Every class of every image.
    """
    if not pairs:
        return
    labels, class_index = np.unique([pair.phrase for pair in pairs], return_inverse=True)
    everything = np.arange(len(pairs))
    everywhere = np.ones(len(pairs), dtype=np.bool_)
    pixels = [pair.gated_counts for pair in pairs]
    shared, union, actual = (count_column(pixels, measure) for measure in ("intersection", "union", "actual"))
    yield MetricDefinition("miou", partial(mean_true_class_iou, shared, union, actual, class_index), everything)
    yield MetricDefinition("miou_with_absent_classes", partial(mean_class_iou, shared, union, class_index), everything)
    yield define_ratio("pixel_accuracy", shared, actual, everywhere)
    yield define_ratio("named_share", count_column(pixels, "predicted"), actual, everywhere)
    for index, label in enumerate(labels):
        yield define_ratio(f"class_iou/name/{label}", shared, union, class_index == index)


def define_panoptic(pairs: Sequence[PairRecord], _: Sequence[str | None]) -> Iterator[MetricDefinition]:
    """List PQ, SQ and RQ of all classes, things and stuff, then the numbers of `define_semantic`.

    Args:
        pairs: Every class of every image.
    """
    if not pairs:
        return
    everything = np.arange(len(pairs))
    kinds = np.array([pair.kind for pair in pairs])
    labels, class_index = np.unique([pair.phrase for pair in pairs], return_inverse=True)
    counts = _segment_columns(pairs)
    for position, name in enumerate(QUALITIES):
        for group in ("", "thing", "stuff"):
            members = everything if not group else np.flatnonzero(kinds == group)
            if len(members):
                statistic = partial(_mean_quality, counts[:, members], class_index[members], position)
                yield MetricDefinition(name + (f"/{group}" if group else ""), statistic, members)
    yield from define_semantic(pairs, _)
    for index, label in enumerate(labels):
        members = np.flatnonzero(class_index == index)
        for position, name in enumerate(QUALITIES):
            statistic = partial(_mean_quality, counts[:, members], class_index[members], position)
            yield MetricDefinition(f"{name}/name/{label}", statistic, members)


def _segment_columns(pairs: Sequence[PairRecord]) -> Floats:
    """Collect matched, spurious, missed and the sum of IoU of every pair, shape (4, N)."""
    rows = [pair.segment_counts or SegmentCounts() for pair in pairs]
    return np.array([(row.matched, row.spurious, row.missed, row.iou_sum) for row in rows], dtype=float).T


def _mean_quality(counts: Floats, class_index: NDArray[np.intp], position: int, weights: Floats) -> Floats:
    """Average a quality over the classes that have a segment, predicted or true: one value for each row of weights."""
    sums = [sum_by_class(column, class_index, weights) for column in counts]
    return mean_defined(class_qualities(*sums)[position])


def describe_task(classes: Sequence[NamedClass], unlabelled: Unlabelled) -> str:
    """Describe what a model is asked for, for `EvaluationRun.task`."""
    digest = hashlib.sha256("\n".join(map(str, classes)).encode()).hexdigest()[:8]
    return f"panoptic map of {len(classes)} classes ({digest}), {unlabelled}"
