"""Modules run by PyTorch, or compiled by OpenVINO: same call, same numbers within the stated precision."""

import inspect
import threading
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

import openvino
import torch
from torch import Tensor, nn
from torch.jit._trace import TracerWarning

from promptseg.runtime.graph_cache import compile_cached, identify

MaskerEngine = Literal["torch", "openvino"]
Precision = Literal["f32", "bf16"]
Graph = Callable[..., tuple[Tensor, ...]]
# Axes of free length, by index of the input.
DynamicAxes = Mapping[int, tuple[int, ...]]
# Graphs that stay in the cache, 30 to 60 MB each; a masker has four for each of three canvases.
NUM_KEPT = 12


class GraphRunner:
    """Runs modules by one engine, and keeps what it compiled; several threads may share it.

    Args:
        engine: "openvino" compiles each module at its first call, for some seconds, and is then several times faster.
        precision: What OpenVINO may compute in; bf16 is about twice as fast where the CPU has it.
        num_threads: For OpenVINO; None takes what is there.
    """

    def __init__(
        self, engine: MaskerEngine = "torch", *, precision: Precision = "f32", num_threads: int | None = None
    ) -> None:
        self.engine = engine
        self.precision = precision
        self.num_threads = num_threads
        self._graphs: dict[tuple[object, ...], Graph] = {}
        self._lock = threading.Lock()

    def run(
        self, name: str, module: nn.Module, inputs: tuple[Tensor, ...], dynamic_axes: DynamicAxes
    ) -> tuple[Tensor, ...]:
        """Run a module.

        Args:
            name: Of the module; the same name and fixed sizes mean the same compiled graph.
            module: Takes float tensors and returns one or a tuple; in eval mode.
            inputs: Its arguments.
            dynamic_axes: Which sizes differ from call to call; all others are compiled in.
        """
        if self.engine == "torch":
            outputs = module(*inputs)
            return outputs if isinstance(outputs, tuple) else (outputs,)
        shapes = [
            [-1 if axis in dynamic_axes.get(index, ()) else size for axis, size in enumerate(tensor.shape)]
            for index, tensor in enumerate(inputs)
        ]
        key = (name, *map(tuple, shapes))
        # A compiled model has one request of its own: one caller at a time.
        with self._lock:
            if key not in self._graphs:
                self._graphs[key] = self._compile(name, module, inputs, shapes)
            return self._graphs[key](*inputs)

    def run_rows(
        self,
        name: str,
        module: nn.Module,
        shared: tuple[Tensor, ...],
        rows: tuple[Tensor, ...],
        dynamic_axes: DynamicAxes,
    ) -> tuple[Tensor, ...]:
        """Run a module on N rows: at once, or, compiled, one by one, for it is fastest where sizes are known.

        Args:
            name: As `run`.
            module: Takes `shared`, then `rows`; N rows in, N rows out.
            shared: Inputs that are the same for all rows.
            rows: Inputs whose first dimension is N.
            dynamic_axes: As `run`.
        """
        if self.engine == "torch":
            return self.run(name, module, (*shared, *rows), dynamic_axes)
        one_by_one = zip(*(tensor.split(1) for tensor in rows), strict=True)
        answers = [self.run(name, module, (*shared, *row), dynamic_axes) for row in one_by_one]
        return tuple(torch.cat(outputs) for outputs in zip(*answers, strict=True))

    def _compile(self, name: str, module: nn.Module, inputs: tuple[Tensor, ...], shapes: list[list[int]]) -> Graph:
        settings = {"INFERENCE_PRECISION_HINT": self.precision, "PERFORMANCE_HINT": "LATENCY"}
        if self.num_threads is not None:
            settings["INFERENCE_NUM_THREADS"] = str(self.num_threads)
        identity = identify(f"{name} {shapes}", module.state_dict(), _traced_sources(module))

        def export(directory: Path) -> None:
            graph = _convert(module, inputs, shapes)
            openvino.save_model(graph, directory / f"{name}.xml", compress_to_fp16=False)

        compiled = compile_cached("masker", identity, export, settings, num_kept=NUM_KEPT)[name]

        def call(*tensors: Tensor) -> tuple[Tensor, ...]:
            # what comes back is a copy already, and what goes in is read where it is
            results = compiled([tensor.detach().contiguous().numpy() for tensor in tensors])
            return tuple(torch.from_numpy(results[index]) for index in range(len(compiled.outputs)))

        return call


def _convert(module: nn.Module, inputs: tuple[Tensor, ...], shapes: list[list[int]]) -> openvino.Model:
    partial_shapes = [openvino.PartialShape(shape) for shape in shapes]
    with warnings.catch_warnings():
        # Tracing warns of its own future, and of branches that are the same for every input here.
        warnings.simplefilter("ignore", category=DeprecationWarning)
        warnings.simplefilter("ignore", category=TracerWarning)
        return openvino.convert_model(module, example_input=inputs, input=partial_shapes)


def _traced_sources(module: nn.Module) -> list[Path]:
    """This package's files that say what the module computes."""
    kinds = {type(part) for part in module.modules() if type(part).__module__.startswith("promptseg.")}
    return sorted({Path(inspect.getfile(kind)) for kind in kinds} | {Path(__file__)})
