"""Which engine runs a model."""

import torch

from promptseg.errors import EngineError
from promptseg.models.base import Segmenter
from promptseg.models.build import Network
from promptseg.models.promptseg import PromptSeg

ENGINES = ("auto", "torch", "openvino", "openvino-bf16")


def resolve_engine(engine: str, device: torch.device, *, compiles: bool = True) -> str:
    """Say which engine is meant on a device: never "auto".

    Args:
        engine: One of `ENGINES`.
        device: Where the model is.
        compiles: Whether OpenVINO can run the model.

    Raises:
        EngineError: The name is unknown, or the engine does not run on the device, or not this model.
    """
    if engine not in ENGINES:
        raise EngineError(f"no engine is named {engine!r}; use {', '.join(ENGINES)}")
    on_cpu = device == torch.device("cpu")
    if engine == "auto":
        return "openvino" if on_cpu and compiles else "torch"
    if engine != "torch" and not compiles:
        raise EngineError(f"{engine} does not run this model: use engine torch or auto")
    if engine != "torch" and not on_cpu:
        raise EngineError(f"{engine} runs on the CPU, not on {device}: use engine torch or auto, or device cpu")
    return engine


def can_compile(network: object) -> bool:
    """Say whether OpenVINO can run a model."""
    return isinstance(network, PromptSeg)


def build_segmenter(network: Network, engine: str = "auto") -> Segmenter:
    """Give what segments with a network's weights.

    Args:
        network: In evaluation mode, on the device it is to run on. It stays as it is.
        engine: "torch"; "openvino": the same numbers to 1e-3 in a logit; "openvino-bf16": rounds to eight bits inside,
            for speed; "auto": OpenVINO on a CPU, else PyTorch, which is what CLIPSeg always runs by. OpenVINO compiles
            a model at its first use on a machine, for some seconds, and keeps what it compiled in the cache.

    Raises:
        EngineError: The name is unknown, or the engine does not run the network, not on its device, or can't write its
            cache.
    """
    engine = resolve_engine(engine, network.device, compiles=can_compile(network))
    if engine == "torch" or not isinstance(network, PromptSeg):
        return network
    # here and not above: OpenVINO takes a while to import, and PyTorch does without it
    from promptseg.engines.openvino import OpenVinoSegmenter

    return OpenVinoSegmenter(network, precision="bf16" if engine == "openvino-bf16" else "f32")
