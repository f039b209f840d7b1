"""The metrics of a set of (image, phrase) pairs, and their definitions.

A `_gated` metric scores the mask that a user gets: empty where the model predicts "absent". Its twin without the suffix
scores the ungated mask. A part after a slash restricts a metric to some pairs: `/thing`, `/small`,
`/name/cat`.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from promptseg.data.sample import KINDS
from promptseg.evaluate.records import PairRecord
from promptseg.metrics import (
    PixelCounts,
    area_under_roc,
    expected_calibration_error,
    mean_class_iou,
    weighted_mean,
    weighted_median,
    weighted_ratio,
)
from promptseg.metrics.statistics import Floats

Bools = NDArray[np.bool_]

# Share of the image: below 1 %, from 1 to 10 %, and from 10 % on.
SIZE_LIMITS = {"small": (0.0, 0.01), "medium": (0.01, 0.1), "large": (0.1, math.inf)}
IOU_LEVELS = (50, 70, 90)


@dataclass(frozen=True, eq=False)
class MetricDefinition:
    """A metric before it is computed.

    Attributes:
        name: Its name.
        statistic: From weights (R, N) of the pairs to (R,) values.
        pair_index: The N pairs it is measured on.
        undefined: How many more were left out because their own value is undefined (the precision of an empty mask).
    """

    name: str
    statistic: Callable[[Floats], Floats]
    pair_index: NDArray[np.intp]
    undefined: int = 0


def define_metrics(pairs: Sequence[PairRecord], sequences: Sequence[str | None]) -> Iterator[MetricDefinition]:
    """List every metric that these pairs have.

    Args:
        pairs: All pairs of a data set.
        sequences: The video each pair comes from, or None; as long as `pairs`.

    Yields:
        Definitions, also of metrics that are measured on no pair.
    """
    if not pairs:
        return
    present = np.array([pair.present for pair in pairs], dtype=bool)
    groups = dict(_groups(pairs))
    yield from _mask_metrics(pairs, present, groups, np.array([sequence or "" for sequence in sequences]))
    yield from _presence_metrics(pairs, present, groups)
    yield from _class_metrics(pairs)


def _groups(pairs: Sequence[PairRecord]) -> Iterator[tuple[str, Bools]]:
    """List the members of each group, shape (N,); the empty name is the group of all pairs."""
    yield "", np.ones(len(pairs), dtype=bool)
    for kind in KINDS:
        yield f"/{kind}", np.array([pair.kind == kind for pair in pairs], dtype=bool)
    area = count_column([pair.counts for pair in pairs], "iou_of_everything")
    for size, (low, high) in SIZE_LIMITS.items():
        yield f"/{size}", (area >= low) & (area < high)


def _mask_metrics(
    pairs: Sequence[PairRecord], present: Bools, groups: dict[str, Bools], sequences: NDArray[np.str_]
) -> Iterator[MetricDefinition]:
    names = np.array([pair.phrase for pair in pairs])
    for suffix, counts in (
        ("", [pair.counts for pair in pairs]),
        ("_gated", [pair.gated_counts for pair in pairs]),
    ):
        iou = count_column(counts, "iou")
        for group, members in groups.items():
            yield define_mean(f"mean_iou{suffix}{group}", iou, present & members)
        yield _median(f"median_iou{suffix}", iou, present)
        yield define_ratio(
            f"cumulative_iou{suffix}", count_column(counts, "intersection"), count_column(counts, "union"), present
        )
        for level in IOU_LEVELS:
            yield define_mean(f"iou_at_{level}{suffix}", (iou >= level / 100).astype(float), present)
        for measure in ("precision", "recall", "dice"):
            yield define_mean(f"{measure}{suffix}", count_column(counts, measure), present)
        for group, labels in (("name", names), ("sequence", sequences)):
            labeled = present & (labels != "")
            yield _mean_of_means(f"mean_iou_over_{group}s{suffix}", iou, labels, labeled)
            for label in np.unique(labels[labeled]):
                yield define_mean(f"mean_iou{suffix}/{group}/{label}", iou, labeled & (labels == label))
    yield define_mean("average_precision", np.array([pair.average_precision for pair in pairs]), present)
    yield define_mean(
        "mean_iou_of_everything", count_column([pair.counts for pair in pairs], "iou_of_everything"), present
    )


def _presence_metrics(
    pairs: Sequence[PairRecord], present: Bools, groups: dict[str, Bools]
) -> Iterator[MetricDefinition]:
    scores = np.array([pair.presence for pair in pairs])
    kept = np.array([pair.kept for pair in pairs], dtype=float)
    absent = ~present
    yield define_mean("absent_rejected", 1 - kept, absent)
    for group, members in groups.items():
        yield define_mean(f"present_kept{group}", kept, present & members)
        if absent.any() and (present & members).any():
            yield _auroc(f"presence_auroc{group}", scores, present, absent | members)
    if absent.any() and present.any():
        yield _balanced_calibration_error("presence_calibration_error", scores, present)


def _class_metrics(pairs: Sequence[PairRecord]) -> Iterator[MetricDefinition]:
    chosen = np.array([pair.argmax_counts is not None for pair in pairs], dtype=bool)
    names, class_index = np.unique([pair.phrase for pair in pairs], return_inverse=True)
    for suffix, counts in (
        ("", [pair.argmax_counts for pair in pairs]),
        ("_gated", [pair.gated_argmax_counts for pair in pairs]),
    ):
        intersections, unions = count_column(counts, "intersection"), count_column(counts, "union")
        yield _class_mean_iou(f"class_mean_iou{suffix}", intersections, unions, class_index, chosen)
        yield define_ratio(f"pixel_accuracy{suffix}", intersections, count_column(counts, "actual"), chosen)
        for index, name in enumerate(names):
            yield define_ratio(f"class_iou{suffix}/{name}", intersections, unions, chosen & (class_index == index))


def define_mean(name: str, values: Floats, chosen: Bools) -> MetricDefinition:
    """Define the mean of the values, shape (N,), over the chosen pairs whose value is defined."""
    defined = chosen & ~np.isnan(values)
    kept = values[defined]
    undefined = int(chosen.sum() - defined.sum())
    return MetricDefinition(name, lambda weights: weighted_mean(kept, weights), np.flatnonzero(defined), undefined)


def _median(name: str, values: Floats, chosen: Bools) -> MetricDefinition:
    kept = values[chosen]
    return MetricDefinition(name, lambda weights: weighted_median(kept, weights), np.flatnonzero(chosen))


def _mean_of_means(name: str, values: Floats, labels: NDArray[np.str_], chosen: Bools) -> MetricDefinition:
    kept = values[chosen]
    _, group_index, group_sizes = np.unique(labels[chosen], return_inverse=True, return_counts=True)
    # Each pair by the inverse of its group's size: a group counts once, and twice where the bootstrap draws it twice.
    share = 1 / group_sizes[group_index]
    return MetricDefinition(name, lambda weights: weighted_mean(kept, weights * share), np.flatnonzero(chosen))


def define_ratio(name: str, numerators: Floats, denominators: Floats, chosen: Bools) -> MetricDefinition:
    """Define the ratio of two sums, of shape (N,) values each, over the chosen pairs."""
    top, bottom = numerators[chosen], denominators[chosen]
    return MetricDefinition(name, lambda weights: weighted_ratio(top, bottom, weights), np.flatnonzero(chosen))


def _auroc(name: str, scores: Floats, present: Bools, chosen: Bools) -> MetricDefinition:
    kept, is_present = scores[chosen], present[chosen]
    return MetricDefinition(name, lambda weights: area_under_roc(kept, is_present, weights), np.flatnonzero(chosen))


def _balanced_calibration_error(name: str, scores: Floats, present: Bools) -> MetricDefinition:
    # Present and absent pairs count the same in sum: their numbers are a property of the data, not of the model.
    share = np.where(present, 1 / present.sum(), 1 / (~present).sum())
    return MetricDefinition(
        name,
        lambda weights: expected_calibration_error(scores, present, weights * share),
        np.arange(len(scores)),
    )


def _class_mean_iou(
    name: str, intersections: Floats, unions: Floats, class_index: NDArray[np.intp], chosen: Bools
) -> MetricDefinition:
    tops, bottoms, index = intersections[chosen], unions[chosen], class_index[chosen]
    return MetricDefinition(name, lambda weights: mean_class_iou(tops, bottoms, index, weights), np.flatnonzero(chosen))


def count_column(counts: Sequence[PixelCounts | None], measure: str) -> Floats:
    """Collect one measure of every pair, shape (N,); nan where there are no counts."""
    return np.array([math.nan if count is None else getattr(count, measure) for count in counts], dtype=float)
