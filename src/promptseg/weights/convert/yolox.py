"""Convert YOLOX from its ONNX export, which keeps the order of the convolutions but not their names.

Source:
    Ge et al. 2021, arXiv:2107.08430 (Apache-2.0).
"""

from collections.abc import Mapping
from pathlib import Path

import torch

from promptseg.weights.convert.checkpoints import write_tensors
from promptseg.weights.convert.onnx_graph import initializers, read_graph


def convert_yolox(files: Mapping[str, Path], target: Path) -> None:
    """Name the weight and bias of each convolution by its index in execution order: "0.weight", "0.bias", ..."""
    (path,) = files.values()
    graph = read_graph(path)
    tensors = initializers(graph)
    convs = [node for node in graph.node if node.op_type == "Conv"]
    named = {
        f"{index}.{part}": torch.from_numpy(tensors[name].copy())
        for index, node in enumerate(convs)
        for part, name in zip(("weight", "bias"), node.input[1:], strict=True)
    }
    write_tensors(target, named)
