"""Which numbers a set of (image, phrase) pairs has, and how each is defined.

A `_gated` number judges the mask that the model gives (empty where it says "absent"); its twin without the suffix
judges the mask whatever the presence. A part after a slash restricts a number to such pairs: `/thing`, `/small`,
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
class Definition:
    """A number before it is computed.

    Attributes:
        name: Of the number.
        statistic: From weights (R, N) of the pairs to (R,) numbers.
        pair_index: The N pairs it is measured on.
        undefined: How many more were left out because their own value is undefined (the precision of an empty mask).
    """

    name: str
    statistic: Callable[[Floats], Floats]
    pair_index: NDArray[np.intp]
    undefined: int = 0


def define_numbers(pairs: Sequence[PairRecord], sequences: Sequence[str | None]) -> Iterator[Definition]:
    """List every number that these pairs have.

    Args:
        pairs: All pairs of a data set.
        sequences: The video each pair comes from, or None; as long as `pairs`.

    Yields:
        Definitions, also of numbers that no pair has a part in.
    """
    if not pairs:
        return
    present = np.array([pair.present for pair in pairs], dtype=bool)
    groups = dict(_groups(pairs))
    yield from _mask_numbers(pairs, present, groups, np.array([sequence or "" for sequence in sequences]))
    yield from _presence_numbers(pairs, present, groups)
    yield from _class_numbers(pairs)


def _groups(pairs: Sequence[PairRecord]) -> Iterator[tuple[str, Bools]]:
    """Members of each part of the pairs, shape (N,); the empty name is everything."""
    yield "", np.ones(len(pairs), dtype=bool)
    for kind in KINDS:
        yield f"/{kind}", np.array([pair.kind == kind for pair in pairs], dtype=bool)
    area = count_column([pair.counts for pair in pairs], "iou_of_everything")
    for size, (low, high) in SIZE_LIMITS.items():
        yield f"/{size}", (area >= low) & (area < high)


def _mask_numbers(
    pairs: Sequence[PairRecord], present: Bools, groups: dict[str, Bools], sequences: NDArray[np.str_]
) -> Iterator[Definition]:
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


def _presence_numbers(pairs: Sequence[PairRecord], present: Bools, groups: dict[str, Bools]) -> Iterator[Definition]:
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


def _class_numbers(pairs: Sequence[PairRecord]) -> Iterator[Definition]:
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


def define_mean(name: str, values: Floats, chosen: Bools) -> Definition:
    """Mean of the values, shape (N,), over the chosen pairs whose value is defined."""
    defined = chosen & ~np.isnan(values)
    kept = values[defined]
    undefined = int(chosen.sum() - defined.sum())
    return Definition(name, lambda weights: weighted_mean(kept, weights), np.flatnonzero(defined), undefined)


def _median(name: str, values: Floats, chosen: Bools) -> Definition:
    kept = values[chosen]
    return Definition(name, lambda weights: weighted_median(kept, weights), np.flatnonzero(chosen))


def _mean_of_means(name: str, values: Floats, labels: NDArray[np.str_], chosen: Bools) -> Definition:
    kept = values[chosen]
    _, group_index, group_sizes = np.unique(labels[chosen], return_inverse=True, return_counts=True)
    # Each pair by the inverse of its group's size: a group counts once, and twice where the bootstrap draws it twice.
    share = 1 / group_sizes[group_index]
    return Definition(name, lambda weights: weighted_mean(kept, weights * share), np.flatnonzero(chosen))


def define_ratio(name: str, numerators: Floats, denominators: Floats, chosen: Bools) -> Definition:
    """Ratio of two sums, of shape (N,) values each, over the chosen pairs."""
    top, bottom = numerators[chosen], denominators[chosen]
    return Definition(name, lambda weights: weighted_ratio(top, bottom, weights), np.flatnonzero(chosen))


def _auroc(name: str, scores: Floats, present: Bools, chosen: Bools) -> Definition:
    kept, is_present = scores[chosen], present[chosen]
    return Definition(name, lambda weights: area_under_roc(kept, is_present, weights), np.flatnonzero(chosen))


def _balanced_calibration_error(name: str, scores: Floats, present: Bools) -> Definition:
    # Present and absent pairs count the same in sum: how many absent phrases are asked says nothing of the model.
    share = np.where(present, 1 / present.sum(), 1 / (~present).sum())
    return Definition(
        name,
        lambda weights: expected_calibration_error(scores, present, weights * share),
        np.arange(len(scores)),
    )


def _class_mean_iou(
    name: str, intersections: Floats, unions: Floats, class_index: NDArray[np.intp], chosen: Bools
) -> Definition:
    tops, bottoms, index = intersections[chosen], unions[chosen], class_index[chosen]
    return Definition(name, lambda weights: mean_class_iou(tops, bottoms, index, weights), np.flatnonzero(chosen))


def count_column(counts: Sequence[PixelCounts | None], measure: str) -> Floats:
    """One measure of every pair, shape (N,); nan where there are no counts."""
    return np.array([math.nan if count is None else getattr(count, measure) for count in counts], dtype=float)
