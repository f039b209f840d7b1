"""OpenVINO on a CPU: the same three steps, compiled."""

import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
import openvino
import torch
from torch import Tensor

from promptseg.models.promptseg.network import PromptSeg
from promptseg.models.promptseg.text_segmenter import (
    Decoded,
    EncodedImages,
    EncodedTexts,
    TextSegmenter,
    from_tensors,
    to_tensors,
)
from promptseg.runtime.network_graphs import compile_steps
from promptseg.runtime.steps import STEP_NAMES, build_steps

Precision = Literal["f32", "bf16"]


class OpenVinoSegmenter(TextSegmenter):
    """Segment one image at a time by a network that OpenVINO has compiled. Threads may share it.

    Args:
        network: What to compile, in evaluation mode, on the CPU. Its tokenizer is used, its weights are copied.
        precision: "f32", or "bf16": rounded to eight bits wherever OpenVINO finds that it pays on this CPU.

    Raises:
        EngineError: The compiled graphs can't be kept in the cache.
    """

    def __init__(self, network: PromptSeg, *, precision: Precision = "f32") -> None:
        self.config = network.config
        self.image_tower = network.image_tower
        self.text_tower = network.text_tower
        self._exemplar = network.exemplar
        compiled = compile_steps(network, lambda: build_steps(network), cpu_options(precision))
        self._images, self._texts, self._decode = (Runner(compiled[name]) for name in STEP_NAMES)

    @property
    def device(self) -> torch.device:
        return torch.device("cpu")

    def encode_images(self, pixels: Tensor) -> EncodedImages:
        return from_tensors(EncodedImages, self._images(pixels=pixels))

    def encode_texts(self, texts: Sequence[str]) -> EncodedTexts:
        token_ids, token_mask = self.text_tower.tokenize(texts)
        return from_tensors(EncodedTexts, self._texts(token_ids=token_ids, token_mask=token_mask))

    def embed_exemplar(self, pixel_embedding: Tensor, coverage: Tensor) -> Tensor:
        """Embed an example, shape (E,): too little work to compile."""
        assert self._exemplar is not None  # `prompt_kinds` says whether it is there
        vector: Tensor = self._exemplar(pixel_embedding, coverage)
        return vector

    def decode(self, images: EncodedImages, texts: EncodedTexts, image_index: Tensor) -> Decoded:
        """Segment one image by N texts; image_index, shape (N,), is therefore all zero."""
        return from_tensors(Decoded, self._decode(**to_tensors(replace(images, detections=None)), **to_tensors(texts)))


def cpu_options(precision: Precision) -> dict[str, object]:
    """Settings of OpenVINO's CPU plugin for one caller at a time, with as many threads as PyTorch would take."""
    return {
        "INFERENCE_PRECISION_HINT": precision,
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "PERFORMANCE_HINT": "LATENCY",
    }


class Runner:
    """Runs a compiled graph on named tensors, for one caller at a time: a request has memory of its own."""

    def __init__(self, compiled: openvino.CompiledModel) -> None:
        self._request = compiled.create_infer_request()
        self._outputs = [(port.any_name, port) for port in compiled.outputs]
        self._lock = threading.Lock()

    def __call__(self, **inputs: Tensor) -> dict[str, Tensor]:
        arrays = {name: np.ascontiguousarray(tensor.numpy()) for name, tensor in inputs.items()}
        with self._lock:
            answers = self._request.infer(arrays, share_inputs=True)
        return {name: torch.from_numpy(answers[port]) for name, port in self._outputs}
