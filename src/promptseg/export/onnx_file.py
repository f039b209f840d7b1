"""Write a step as a graph in ONNX, by PyTorch's exporter."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim

from promptseg._extras import require
from promptseg.export.parts import ExportPart, FreeAxis

OPSET = 20
# It reports operations of torchvision, which no model uses.
_CHATTY = "torch.onnx._internal.exporter._registration"


class _Positional(nn.Module):
    """A module whose inputs are all in one tuple, so that the shapes of inputs are too, whatever its signature."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
        outputs: Tensor | tuple[Tensor, ...] = self.module(*inputs)
        return outputs


def write_onnx(part: ExportPart, path: Path) -> None:
    """Write a part as one file.

    Raises:
        MissingExtraError: onnxscript is not installed.
    """
    require("onnxscript", extra="export")
    step = part.build()
    axes: dict[str, Dim] = {}
    shapes = tuple(
        {axis: _length(free_axis, axes) for axis, free_axis in part.axes.get(name, {}).items()} for name in step.example
    )
    with _quiet(), torch.no_grad():
        program = torch.onnx.export(
            _Positional(step.module).eval(),
            tuple(step.example.values()),
            dynamo=True,
            opset_version=OPSET,
            input_names=list(step.example),
            output_names=list(step.outputs),
            dynamic_shapes=(shapes,),
            external_data=False,
            verbose=False,
        )
        assert program is not None  # with dynamo it always gives one
        _free_names(program.model.graph, {*step.example, *step.outputs})
        program.save(str(path), external_data=False)


def _free_names(graph: Any, names: set[str]) -> None:
    """Rename values inside a graph that have the name of an input or output: the exporter does not look for that."""
    ends = {id(value) for value in (*graph.inputs, *graph.outputs)}
    inner = [*graph.initializers.values(), *(value for node in graph for value in node.outputs)]
    for value in inner:
        if value.name in names and id(value) not in ends:
            value.name = f"{value.name}.inner"


def _length(free_axis: FreeAxis, known: dict[str, Dim]) -> object:
    length = known.setdefault(free_axis.name, Dim(free_axis.name))
    return length if free_axis.multiple_of == 1 else free_axis.multiple_of * length


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide what the exporter says of its own future, and of packages that are not there."""
    logger = logging.getLogger(_CHATTY)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
