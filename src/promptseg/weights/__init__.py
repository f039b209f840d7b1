"""Pretrained weights by name: fetched from their publishers, checked, converted once and cached."""

from promptseg.weights.cache import is_cached
from promptseg.weights.progress import ReportProgress, progress_bar
from promptseg.weights.records import SourceKind, WeightFile, WeightRecord
from promptseg.weights.resolver import find_record, pull, resolve, verify
from promptseg.weights.table import RECORDS

__all__ = [
    "RECORDS",
    "ReportProgress",
    "SourceKind",
    "WeightFile",
    "WeightRecord",
    "find_record",
    "is_cached",
    "progress_bar",
    "pull",
    "resolve",
    "verify",
]
