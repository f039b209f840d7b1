"""A module run by PyTorch, or compiled by OpenVINO: same call, same numbers within the stated precision."""

from collections.abc import Callable, Mapping
from typing import Literal

import openvino
import torch
from torch import Tensor, nn

MaskerEngine = Literal["torch", "openvino"]
Precision = Literal["f32", "bf16"]
Graph = Callable[..., tuple[Tensor, ...]]


def compile_graph(
    module: nn.Module,
    example: tuple[Tensor, ...],
    *,
    dynamic_axes: Mapping[int, tuple[int, ...]],
    precision: Precision,
    num_threads: int | None = None,
) -> Graph:
    """Compile a module for the CPU with OpenVINO.

    Args:
        module: Takes and returns float tensors; must be in eval mode.
        example: Inputs to trace with; their shapes are fixed except on the dynamic axes.
        dynamic_axes: Axes of free length, by index of the input.
        num_threads: None takes what is there.
        precision: What the CPU may compute in; bf16 is about twice as fast where the CPU has it.

    Returns:
        A function of the same inputs, to a tuple of the outputs.
    """
    shapes = [
        openvino.PartialShape(
            [-1 if axis in dynamic_axes.get(index, ()) else size for axis, size in enumerate(x.shape)]
        )
        for index, x in enumerate(example)
    ]
    with torch.inference_mode():
        graph = openvino.convert_model(module, example_input=example, input=shapes)
    settings = {"INFERENCE_PRECISION_HINT": precision, "PERFORMANCE_HINT": "LATENCY"}
    if num_threads is not None:
        settings["INFERENCE_NUM_THREADS"] = str(num_threads)
    compiled = openvino.Core().compile_model(graph, "CPU", settings)

    def run(*inputs: Tensor) -> tuple[Tensor, ...]:
        results = compiled([x.detach().contiguous().numpy() for x in inputs])
        return tuple(torch.from_numpy(results[index].copy()) for index in range(len(compiled.outputs)))

    return run
