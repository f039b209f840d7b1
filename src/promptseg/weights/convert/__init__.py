"""Conversions from published files to what promptseg loads: safetensors, and directories for transformers.

A converter gets the checked files by name, an empty directory to fill, and the record.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

from promptseg.weights.convert.checkpoints import convert_state_dict, copy_files
from promptseg.weights.records import Conversion, WeightRecord

Converter = Callable[[Mapping[str, Path], Path, WeightRecord], None]

CONVERTERS: dict[Conversion, Converter] = {
    "copy": copy_files,
    "state-dict": convert_state_dict,
}
