"""From a step of PyTorch to a graph of OpenVINO.

OpenVINO's own `convert_model` does the same, and reports each call to its vendor. Its frontend alone does not.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from openvino.frontend import FrontEndManager
from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

from promptseg.runtime.graph import OUTPUT_PREFIX, Step
from promptseg.runtime.silent_openvino import openvino


def convert(step: Step) -> openvino.Model:
    """Trace a step and convert it; inputs and outputs keep their names, free axes stay free."""
    with warnings.catch_warnings(), torch.no_grad(), _plain_attention():
        # Tracing warns of its own future, and of every Python value that becomes a constant. Tests try out the rest.
        warnings.simplefilter("ignore")
        decoder = TorchScriptPythonDecoder(step.module.eval(), example_input=tuple(step.example.values()))
        frontend = FrontEndManager().load_by_framework("pytorch")
        graph = frontend.convert(frontend.load(decoder))
    for port, name in zip(graph.inputs, step.example, strict=True):
        port.get_tensor().set_names({name})
    for port, name in zip(graph.outputs, step.outputs, strict=True):
        port.get_tensor().set_names({name})
        # compiling may give one tensor the names of others that hold the same numbers; the node keeps its own
        port.get_node().set_friendly_name(OUTPUT_PREFIX + name)
    graph.reshape({name: _partial_shape(step, name) for name in step.example})
    graph.validate_nodes_and_infer_types()
    return graph


def _partial_shape(step: Step, name: str) -> openvino.PartialShape:
    shape = list(step.example[name].shape)
    for axis in step.free_axes.get(name, ()):
        shape[axis] = -1
    return openvino.PartialShape(shape)


@contextmanager
def _plain_attention() -> Iterator[None]:
    """Let PyTorch spell its transformer layers out: OpenVINO does not know the one operation that they may become."""
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
