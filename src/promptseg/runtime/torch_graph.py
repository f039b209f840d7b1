"""Graphs that PyTorch computes."""

import os
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from promptseg.errors import EngineError
from promptseg.runtime.graph import Arrays, Step

# The process that imported this module: the one that loads the first model.
_LOADING_PROCESS = os.getpid()


class TorchGraph:
    """A step on a device, behind the interface of `Graph`.

    In a process that was forked from the one that loaded the model, it computes with one thread, on the CPU only.

    Args:
        step: Its module moves to the device.
        device: As torch writes it.
    """

    def __init__(self, step: Step, device: str = "cpu") -> None:
        _adapt_to_fork(device)
        self._module = step.module.to(device).eval()
        self._names = tuple(step.example)
        self._outputs = step.outputs
        self._device = torch.device(device)

    @torch.inference_mode()
    def __call__(self, **inputs: NDArray[Any]) -> Arrays:
        """Compute the outputs, by name, from the inputs, by name.

        Raises:
            EngineError: The process was forked, and the device is a GPU.
        """
        _adapt_to_fork(self._device.type)
        tensors = [torch.from_numpy(np.require(inputs[name], requirements=["C", "W"])) for name in self._names]
        answers = self._module(*(tensor.to(self._device) for tensor in tensors))
        answers = answers if isinstance(answers, tuple) else (answers,)
        return {name: answer.cpu().numpy() for name, answer in zip(self._outputs, answers, strict=True)}


def _adapt_to_fork(device: str) -> None:
    """Compute with one thread in a forked process: the helper threads are gone, and torch would wait for them.

    Raises:
        EngineError: The device is a GPU, which a forked process can't use.
    """
    if os.getpid() == _LOADING_PROCESS:
        return
    if not device.startswith("cpu"):
        raise EngineError(
            f"a model on {device} can't be used in a process that was forked after it was loaded: load it in each "
            "process, or start processes with the method 'spawn'"
        )
    if torch.get_num_threads() > 1:
        torch.set_num_threads(1)
