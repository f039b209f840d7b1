"""Metrics: pure functions on arrays, each with one definition and no state.

Three kinds: pixels of one (picture, phrase) pair (`pixels`), numbers over many pairs (`statistics`, which take weights
so that one definition gives both the number and its bootstrap interval), and the interval itself (`bootstrap`).
An undefined number is nan, never a stand-in value.
"""

from promptseg.metrics.bootstrap import bootstrap_interval
from promptseg.metrics.pixels import PixelCounts, argmax_counts, count_pixels, pixel_average_precision
from promptseg.metrics.statistics import (
    area_under_roc,
    expected_calibration_error,
    mean_class_iou,
    weighted_mean,
    weighted_median,
    weighted_ratio,
)

__all__ = [
    "PixelCounts",
    "area_under_roc",
    "argmax_counts",
    "bootstrap_interval",
    "count_pixels",
    "expected_calibration_error",
    "mean_class_iou",
    "pixel_average_precision",
    "weighted_mean",
    "weighted_median",
    "weighted_ratio",
]
