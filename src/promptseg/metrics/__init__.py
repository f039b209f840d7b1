"""Metrics: pure functions on arrays, each with one definition and no state.

Five kinds: pixels of one (image, phrase) pair (`pixel_counts`), segments of one image (`panoptic_quality`), averages
over many pairs (`statistics`, which take weights so that one definition gives both the value and its bootstrap
interval), pixels and averages again at many thresholds (`sweep`), and the interval itself (`bootstrap`).
An undefined value is nan, never a stand-in.
"""

from promptseg.metrics.bootstrap import bootstrap_interval
from promptseg.metrics.panoptic_quality import SegmentCounts, class_qualities, count_segments
from promptseg.metrics.pixel_counts import PixelCounts, argmax_counts, count_pixels, pixel_average_precision
from promptseg.metrics.statistics import (
    area_under_roc,
    expected_calibration_error,
    mean_class_iou,
    mean_true_class_iou,
    weighted_mean,
    weighted_median,
    weighted_ratio,
)
from promptseg.metrics.sweep import (
    SWEEP_THRESHOLDS,
    Sweep,
    SweepCounts,
    binary_iou,
    foreground_iou,
    mean_group_iou,
    mean_pair_iou,
    simpson_average_precision,
    step_average_precision,
    sweep_counts,
)

__all__ = [
    "SWEEP_THRESHOLDS",
    "PixelCounts",
    "SegmentCounts",
    "Sweep",
    "SweepCounts",
    "area_under_roc",
    "argmax_counts",
    "binary_iou",
    "bootstrap_interval",
    "class_qualities",
    "count_pixels",
    "count_segments",
    "expected_calibration_error",
    "foreground_iou",
    "mean_class_iou",
    "mean_group_iou",
    "mean_pair_iou",
    "mean_true_class_iou",
    "pixel_average_precision",
    "simpson_average_precision",
    "step_average_precision",
    "sweep_counts",
    "weighted_mean",
    "weighted_median",
    "weighted_ratio",
]
