"""Which engine computes, on which device, and how it is asked. Nothing here imports torch unless a GPU may be there."""

import os
import platform
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

from promptseg.errors import EngineError
from promptseg.runtime.graph import Graph, GraphSource

Engine = Literal["torch", "openvino", "openvino-bf16", "openvino-int8"]
ENGINES = ("auto", "torch", "openvino", "openvino-bf16", "openvino-int8")
_PRECISIONS: dict[Engine, Literal["f32", "bf16", "int8"]] = {
    "openvino": "f32",
    "openvino-bf16": "bf16",
    "openvino-int8": "int8",
}
# Device files of a GPU that CUDA can use: on Linux, and under WSL.
_GPU_FILES = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")

ReportCompile = Callable[[str], None]
"""Told the name of a graph before it is compiled, which takes seconds."""


@dataclass(frozen=True)
class Runtime:
    """An engine on a device. Every part of a model asks the same runtime, so they all have the same precision.

    Attributes:
        engine: "torch"; "openvino": the numbers of PyTorch to about 1e-3 in a logit; "openvino-bf16": computed in
            bfloat16 inside, faster where the CPU has it; "openvino-int8": the same, float32 elsewhere, with products
            in int8 in the image encoders for which that was fitted.
        device: As torch writes it; OpenVINO runs on "cpu" only.
        report: Told the name of each graph that is compiled for the first time, or None.
        max_threads: Threads that a compiled graph takes; None: see `num_threads`.
    """

    engine: Engine = "torch"
    device: str = "cpu"
    report: ReportCompile | None = None
    max_threads: int | None = None

    @classmethod
    def choose(
        cls,
        engine: str = "auto",
        device: str = "auto",
        report: ReportCompile | None = None,
        *,
        max_threads: int | None = None,
    ) -> "Runtime":
        """Resolve "auto": a GPU where there is one, else OpenVINO on the CPU, in the fastest precision of the CPU.

        That is int8, else bfloat16, where the CPU computes in it, else float32.

        Raises:
            EngineError: The engine is unknown, the device is not there, or the engine does not run on the device.
        """
        if engine not in ENGINES:
            raise EngineError(f"no engine is named {engine!r}; use {', '.join(ENGINES)}")
        if device == "auto" and engine.startswith("openvino"):
            device = "cpu"
        device = resolve_device(device)
        if engine == "auto":
            chosen: Engine = _fastest_on_cpu() if device == "cpu" else "torch"
            return cls(chosen, device, report, max_threads)
        if engine != "torch" and device != "cpu":
            raise EngineError(f"{engine} runs on the CPU, not on {device}: use engine torch or auto, or device cpu")
        if engine == "openvino-int8":
            _check_int8()
        return cls(engine, device, report, max_threads)  # type: ignore[arg-type]  # one of ENGINES, and not "auto"

    @property
    def is_compiled(self) -> bool:
        """Whether graphs are compiled; sizes that are known when a graph is compiled make it faster."""
        return self.engine != "torch"

    @cached_property
    def num_threads(self) -> int:
        """Threads that a compiled graph takes: those that this process may run on, or OMP_NUM_THREADS."""
        if self.max_threads is not None:
            return self.max_threads
        if (given := os.environ.get("OMP_NUM_THREADS", "")).isdigit() and int(given) > 0:
            return int(given)
        return available_cores()

    def graph(self, source: GraphSource) -> Graph:
        """Give the graph of a source, ready to compute.

        Raises:
            EngineError: The cache of compiled graphs can't be written.
            WeightsError: The weights that the source reads can't be read.
        """
        if self.engine == "torch":
            from promptseg.runtime.torch_graph import TorchGraph

            return TorchGraph(source.build(), self.device)
        from promptseg.runtime.openvino_graph import open_graph

        precision = _PRECISIONS[self.engine]
        return open_graph(source, precision=precision, num_threads=self.num_threads, report=self.report)


def available_cores() -> int:
    """Count the cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def resolve_device(device: str) -> str:
    """Find the device that is meant.

    Args:
        device: As torch writes it, or "auto": CUDA, else MPS, else the CPU.

    Raises:
        EngineError: There is no such device here.
    """
    if device == "cpu" or (device == "auto" and not _may_have_gpu()):
        return "cpu"
    # here and not above: a compiled model on the CPU does without torch, which takes seconds to import
    import torch

    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        found = torch.device(device)
    except RuntimeError as error:
        raise EngineError(f"{device!r} is not a device; use auto, cpu, cuda, cuda:1 or mps") from error
    num_devices = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}
    if (found.index or 0) >= num_devices.get(found.type, 0):
        raise EngineError(f"there is no device {device!r} here; use auto or cpu")
    return device


def _may_have_gpu() -> bool:
    """Whether it is worth importing torch to look for a GPU."""
    try:
        if version("torch").endswith("+cpu"):
            return False
    except PackageNotFoundError:
        return False
    if platform.system() == "Linux":
        return any(Path(name).exists() for name in _GPU_FILES)
    return True


def _fastest_on_cpu() -> Engine:
    from promptseg.runtime.openvino_graph import adds_int8_exactly, cpu_capabilities

    if adds_int8_exactly():
        return "openvino-int8"
    return "openvino-bf16" if "BF16" in cpu_capabilities() else "openvino"


def _check_int8() -> None:
    """Check that this CPU computes in int8 without loss.

    Raises:
        EngineError: It does not.
    """
    from promptseg.runtime.openvino_graph import adds_int8_exactly

    if not adds_int8_exactly():
        raise EngineError(
            "openvino-int8 needs a CPU with VNNI (avx512_vnni or avx_vnni): this one adds products of 8 bits with "
            "losses; use engine openvino or auto"
        )
