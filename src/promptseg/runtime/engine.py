"""Which engine runs a model."""

import copy
from typing import Literal

import torch

from promptseg.errors import EngineError
from promptseg.models.build import Network
from promptseg.models.clipseg.network import ClipSeg
from promptseg.models.clipseg.segmenter import ConceptSegmenter
from promptseg.models.example_cache import ExampleCache
from promptseg.models.promptseg.text_segmenter import TextSegmenter
from promptseg.segmenter import Segmenter

ENGINES = ("auto", "torch", "openvino", "openvino-bf16")


def resolve_engine(engine: str, device: torch.device) -> str:
    """Say which engine is meant on a device: never "auto".

    On a CPU "auto" is OpenVINO, in bfloat16 where the CPU computes in it by itself. Elsewhere it is PyTorch.

    Raises:
        EngineError: The name is unknown, or the engine does not run on the device.
    """
    if engine not in ENGINES:
        raise EngineError(f"no engine is named {engine!r}; use {', '.join(ENGINES)}")
    on_cpu = device == torch.device("cpu")
    if engine == "auto":
        return _fastest_on_cpu() if on_cpu else "torch"
    if engine != "torch" and not on_cpu:
        raise EngineError(f"{engine} runs on the CPU, not on {device}: use engine torch or auto, or device cpu")
    return engine


def _fastest_on_cpu() -> str:
    # here and not above: OpenVINO takes a while to import, and PyTorch does without it
    from promptseg.runtime.graph_cache import cpu_capabilities

    return "openvino-bf16" if "BF16" in cpu_capabilities() else "openvino"


def build_segmenter(network: Network, engine: str = "auto") -> Segmenter:
    """Give what segments with a network's weights.

    Args:
        network: In evaluation mode, on the device it is to run on. Nothing of it is changed here, and its weights are
            to stay as they are: what computes keeps what examples were embedded as.
        engine: "torch"; "openvino": the same numbers to 1e-3 in a logit; "openvino-bf16": rounds to eight bits inside,
            for speed; "auto": OpenVINO on a CPU, in bfloat16 where the CPU has it, else PyTorch. OpenVINO compiles a
            model at its first use on a machine, for some seconds, and keeps what it compiled in the cache.

    Raises:
        EngineError: The name is unknown, or the engine does not run on the network's device or can't write its cache.
    """
    engine = resolve_engine(engine, network.device)
    segmenter = _build(network, engine)
    segmenter.examples = ExampleCache()
    return segmenter


def _build(network: Network, engine: str) -> TextSegmenter | ConceptSegmenter:
    if engine == "torch":
        return copy.copy(network)  # shares the weights; the network itself may be trained on, and keeps no examples
    precision: Literal["f32", "bf16"] = "bf16" if engine == "openvino-bf16" else "f32"
    if isinstance(network, ClipSeg):
        from promptseg.runtime.openvino_clipseg import OpenVinoClipSeg

        return OpenVinoClipSeg(network, precision=precision)
    from promptseg.runtime.openvino import OpenVinoSegmenter

    return OpenVinoSegmenter(network, precision=precision)
