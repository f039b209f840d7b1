"""Read trained tensors from an exported ONNX graph."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from onnx import numpy_helper

from promptseg.errors import WeightsError

Array = NDArray[np.float32]


def read_graph(path: Path) -> Any:
    """Read the graph of an .onnx file.

    Raises:
        WeightsError: It is not an ONNX file.
    """
    try:
        return onnx.load(str(path)).graph
    except DecodeError as error:
        raise WeightsError(f"{path.name}: not an ONNX file") from error


def initializers(graph: Any) -> dict[str, Array]:
    """Return every stored tensor of a graph, by name."""
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}


def linear_weights(graph: Any, tensors: Mapping[str, Array]) -> dict[str, Array]:
    """Find the weights of linear layers, which exporters transpose and rename.

    A linear layer is exported as MatMul then Add, and the bias of the Add keeps its name: "X.bias" gives "X.weight".

    Args:
        graph: Result of `read_graph`.
        tensors: Initializers of the graph.

    Returns:
        Weights by name, each of shape (C_out, C_in).
    """
    producer = {output: node for node in graph.node for output in node.output}
    weights: dict[str, Array] = {}
    for add in graph.node:
        if add.op_type != "Add":
            continue
        for bias, other in (tuple(add.input), tuple(reversed(add.input))):
            matmul = producer.get(other)
            if not (bias in tensors and bias.endswith(".bias") and matmul is not None and matmul.op_type == "MatMul"):
                continue
            stored = [tensors[name] for name in matmul.input if name in tensors]
            if stored:
                weights[bias.removesuffix("bias") + "weight"] = stored[0].T
    return weights
