"""The README.md of an exported model."""

from collections.abc import Mapping
from typing import Any

from promptseg.export.parts import ExportedModel

_NEEDS = {"onnx": "numpy, Pillow and onnxruntime", "openvino": "numpy, Pillow and openvino"}


def readme_text(config: Mapping[str, Any], described: ExportedModel) -> str:
    """Describe the folder of a config, and what of the model is not in it."""
    graphs = "\n".join(
        f"| `{graph['file']}` | {graph['computes']} | {_tensors(graph['inputs'])} | {_tensors(graph['outputs'])} |"
        for graph in config["graphs"].values()
    )
    weights = "".join(f"- {name}: {license}\n" for name, license in config["weights"].items())
    return f"""# {config["model"]}, exported

Checkpoint {config["fingerprint"]} by promptseg {config["promptseg"]}; license: {config["license"] or "not stated"}.
{f"Pretrained weights in the graphs:{chr(10)}{chr(10)}{weights}" if weights else ""}
    {described.usage}

segments a photo. It needs {_NEEDS[config["format"]]}; nothing of promptseg or PyTorch. `config.json` holds all sizes,
statistics and thresholds, and the sha256 of every file.

| graph | from, to | inputs | outputs |
|---|---|---|---|
{graphs}

A name in a shape is any number from 1 on, the same for all inputs of a graph; `?` follows from the inputs. Outputs
differ from PyTorch's in float32 by {config["tolerance"]:g} at most.{_masker_text(config)}{_detections_text(config)}

## What is not in the graphs

{"".join(f"- {sentence}{chr(10)}" for sentence in described.python_only)}"""


def _masker_text(config: Mapping[str, Any]) -> str:
    if "masker" not in config:
        return ""
    return """ Points are pixels of the masker's input, origin top left, pixel centers at index; labels:
1 on the object, 0 beside it, 2 and 3 the top left and bottom right corner of a box, -1 no point. Points without a box
end with one of label -1. `has_coarse` is 1 where `coarse_logits` holds a mask, else 0."""


def _detections_text(config: Mapping[str, Any]) -> str:
    if "detections" not in config:
        return ""
    return """ Each row of `detections` is a box (left, top, right, bottom), shares of the
image's sides, and a score for each class of `config.json`; rows of equal score may change places."""


def _tensors(tensors: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{name} {tensor['dtype']} ({', '.join('?' if axis is None else str(axis) for axis in tensor['shape'])})"
        for name, tensor in tensors.items()
    )
