"""Convert published files to the formats that promptseg loads: safetensors, and directories for transformers.

A converter gets the checked files by name, and the path of the file to write or of the empty directory to fill.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

from promptseg.weights.convert.checkpoints import convert_sam_decoder, convert_state_dict, copy_files
from promptseg.weights.convert.clip import convert_clip, convert_clip_tokenizer, convert_clipseg
from promptseg.weights.convert.dinov2 import convert_dinov2_hub, convert_dinov2_onnx
from promptseg.weights.convert.hub_models import convert_grounding_dino, convert_owlv2, convert_sam_hub
from promptseg.weights.convert.name_tables import convert_name_tables
from promptseg.weights.convert.sam2 import convert_sam2
from promptseg.weights.convert.yolo_world import convert_yolo_world
from promptseg.weights.convert.yolox import convert_yolox
from promptseg.weights.records import Conversion

Converter = Callable[[Mapping[str, Path], Path], None]

CONVERTERS: dict[Conversion, Converter] = {
    "copy": copy_files,
    "state-dict": convert_state_dict,
    "sam-decoder": convert_sam_decoder,
    "sam2-onnx": convert_sam2,
    "dinov2-onnx": convert_dinov2_onnx,
    "dinov2-hub": convert_dinov2_hub,
    "clip-tokenizer": convert_clip_tokenizer,
    "clip": convert_clip,
    "clipseg": convert_clipseg,
    "yolox-onnx": convert_yolox,
    "grounding-dino-hub": convert_grounding_dino,
    "owlv2-hub": convert_owlv2,
    "sam-hub": convert_sam_hub,
    "yolo-world": convert_yolo_world,
    "clip-names": convert_name_tables,
}
