"""Which engine runs a model."""

import torch

from promptseg.errors import EngineError
from promptseg.models.promptseg import PromptSeg
from promptseg.models.text_segmenter import TextSegmenter

ENGINES = ("auto", "torch", "openvino", "openvino-bf16")


def build_segmenter(network: PromptSeg, engine: str = "auto") -> TextSegmenter:
    """Give what segments with a network's weights.

    Args:
        network: In evaluation mode, on the device it is to run on. It stays as it is.
        engine: "torch"; "openvino": the same numbers to 1e-3 in a logit; "openvino-bf16": rounds to eight bits inside,
            for speed; "auto": OpenVINO on a CPU, else PyTorch. OpenVINO compiles a model at its first use on a machine,
            for some seconds, and keeps what it compiled in the cache.

    Raises:
        EngineError: The name is unknown, or the engine does not run on the network's device or can't write its cache.
    """
    if engine not in ENGINES:
        raise EngineError(f"no engine is named {engine!r}; use {', '.join(ENGINES)}")
    if engine == "auto":
        engine = "openvino" if network.device == torch.device("cpu") else "torch"
    if engine == "torch":
        return network
    if network.device != torch.device("cpu"):
        raise EngineError(f"{engine} runs on the CPU, not on {network.device}: use engine torch or auto, or device cpu")
    # here and not above: OpenVINO takes a while to import, and PyTorch does without it
    from promptseg.engines.openvino import OpenVinoSegmenter

    return OpenVinoSegmenter(network, precision="bf16" if engine == "openvino-bf16" else "f32")
