"""A network's steps as OpenVINO graphs, kept in the cache so that only the first process has to make them."""

import hashlib
import json
import os
import warnings
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path

import numpy as np
import openvino
import torch

import promptseg
from promptseg.engines.steps import STEP_NAMES, Step, StepName, build_steps
from promptseg.errors import EngineError
from promptseg.models.promptseg import PromptSeg
from promptseg.weights.cache import cache_dir, exclusive, forget_oldest, workspace

NUM_KEPT = 3  # networks whose graphs stay in the cache; the default's take 260 MB, half of it compiled
TRACED_PARTS = ("layers", "encoders", "models", "engines")


def compile_steps(network: PromptSeg, options: Mapping[str, object]) -> dict[StepName, openvino.CompiledModel]:
    """Compile a network for this CPU: ten seconds or so the first time, half a second from the cache.

    Args:
        network: In evaluation mode, on the CPU.
        options: Of OpenVINO's CPU plugin.

    Raises:
        EngineError: The cache can't be written.
    """
    entry = cache_dir() / "engines" / f"openvino-{_identity(network)}"
    try:
        with exclusive(entry):
            if not entry.is_dir():
                with workspace(entry) as work:
                    _export(network, work / "graphs")
                    (work / "graphs").rename(entry)
            os.utime(entry)
            forget_oldest(entry.parent.glob("openvino-*"), NUM_KEPT)
            # OpenVINO checks what it compiled earlier against its version and this CPU. Its smaller cache
            # (CACHE_MODE=OPTIMIZE_SIZE, 2026.4) gave empty maps once it was read.
            options = {**options, "CACHE_DIR": str(entry)}
            core = openvino.Core()
            return {name: core.compile_model(entry / f"{name}.xml", "CPU", options) for name in STEP_NAMES}
    except OSError as error:
        raise EngineError(
            f"{entry.parent} can't be written ({error.strerror or error}): "
            "set PROMPTSEG_CACHE to a directory that can, or use engine torch"
        ) from error


def _export(network: PromptSeg, directory: Path) -> None:
    for name, step in build_steps(network).items():
        # compress_to_fp16 would change numbers
        openvino.save_model(_convert(step), directory / f"{name}.xml", compress_to_fp16=False)


def _convert(step: Step) -> openvino.Model:
    with warnings.catch_warnings(), torch.no_grad():
        # Tracing tells of every Python value that it takes for a constant. What must stay free, tests try out.
        warnings.simplefilter("ignore")
        graph = openvino.convert_model(step.module, example_input=tuple(step.example.values()))
    for port, name in zip(graph.inputs, step.example, strict=True):
        port.get_tensor().set_names({name})
    for port, name in zip(graph.outputs, step.outputs, strict=True):
        port.get_tensor().set_names({name})
    shapes = {}
    for name, tensor in step.example.items():
        shape = list(tensor.shape)
        for axis in step.free_axes[name]:
            shape[axis] = -1
        shapes[name] = openvino.PartialShape(shape)
    graph.reshape(shapes)
    return graph


def _identity(network: PromptSeg) -> str:
    """Hash all that a graph depends on: config, weights, this package's code, and who converts it."""
    digest = hashlib.sha256(json.dumps(network.config.to_dict(), sort_keys=True).encode())
    for package in ("openvino", "torch", "transformers"):
        digest.update(f"{package} {version(package)}".encode())
    for source in _traced_sources():
        digest.update(source.read_bytes())
    for name, tensor in network.state_dict().items():
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(np.ascontiguousarray(tensor.numpy()).data)
    return digest.hexdigest()[:16]


def _traced_sources() -> Iterator[Path]:
    package = Path(promptseg.__file__).parent
    for part in TRACED_PARTS:
        yield from sorted((package / part).glob("*.py"))
