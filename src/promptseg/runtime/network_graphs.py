"""A network's steps as OpenVINO graphs, kept in the cache so that only the first process has to make them."""

import json
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import openvino
import torch

import promptseg
from promptseg.models.build import Network
from promptseg.runtime.graph_cache import compile_cached, identify
from promptseg.runtime.steps import Step

NUM_KEPT = 3  # networks whose graphs stay in the cache; the default's take 260 MB, half of it compiled
TRACED_PARTS = ("layers", "encoders", "models", "runtime")


def compile_steps(
    network: Network, build: Callable[[], Mapping[str, Step]], options: Mapping[str, object]
) -> dict[str, openvino.CompiledModel]:
    """Compile a network for this CPU: ten seconds or so the first time, half a second from the cache.

    Args:
        network: In evaluation mode, on the CPU.
        build: Takes it apart; called where its graphs are not in the cache.
        options: Of OpenVINO's CPU plugin.

    Raises:
        EngineError: The cache can't be written.
    """
    config = json.dumps(network.config.to_dict(), sort_keys=True)
    identity = identify(config, network.state_dict(), _traced_sources())
    return compile_cached(
        "openvino", identity, lambda directory: _export(build(), directory), options, num_kept=NUM_KEPT
    )


def _export(steps: Mapping[str, Step], directory: Path) -> None:
    for name, step in steps.items():
        # compress_to_fp16 would change numbers
        openvino.save_model(_convert(step), directory / f"{name}.xml", compress_to_fp16=False)


@contextmanager
def _plain_attention() -> Iterator[None]:
    """Let PyTorch spell its transformer layers out: OpenVINO does not know the one operation that they may become."""
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)


def _convert(step: Step) -> openvino.Model:
    with warnings.catch_warnings(), torch.no_grad(), _plain_attention():
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


def _traced_sources() -> Iterator[Path]:
    package = Path(promptseg.__file__).parent
    for part in TRACED_PARTS:
        yield from sorted((package / part).rglob("*.py"))
