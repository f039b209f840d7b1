"""Graphs that PyTorch computes."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from promptseg.runtime.graph import Arrays, Step


class TorchGraph:
    """A step on a device, behind the interface of `Graph`.

    Args:
        step: Its module moves to the device.
        device: As torch writes it.
    """

    def __init__(self, step: Step, device: str = "cpu") -> None:
        self._module = step.module.to(device).eval()
        self._names = tuple(step.example)
        self._outputs = step.outputs
        self._device = torch.device(device)

    @torch.inference_mode()
    def __call__(self, **inputs: NDArray[Any]) -> Arrays:
        """Compute the outputs, by name, from the inputs, by name."""
        tensors = [torch.from_numpy(np.require(inputs[name], requirements=["C", "W"])) for name in self._names]
        answers = self._module(*(tensor.to(self._device) for tensor in tensors))
        answers = answers if isinstance(answers, tuple) else (answers,)
        return {name: answer.cpu().numpy() for name, answer in zip(self._outputs, answers, strict=True)}
