"""Functions of version 0.1 that have another shape today. They go in the version after the next."""

from pathlib import Path

from promptseg.runtime import Runtime
from promptseg.sam.base import PromptableSegmenter
from promptseg.sam.load import load_sam


def load_masker(name_or_dir: str | Path, *, input_side: int = 1024, offline: bool = False) -> PromptableSegmenter:
    """Load a promptable segmenter on PyTorch; see `sam.load.load_sam`, and `promptseg.load("mobile-sam")`."""
    return load_sam(name_or_dir, runtime=Runtime("torch"), input_side=input_side, offline=offline)
