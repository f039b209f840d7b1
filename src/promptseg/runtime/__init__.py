"""What computes a loaded model: PyTorch itself, or OpenVINO on a CPU; the numbers are the same within a tolerance."""

from promptseg.runtime.engine import ENGINES, build_segmenter, resolve_engine

__all__ = ["ENGINES", "build_segmenter", "resolve_engine"]
