"""The state with which a run resumes exactly, in one file that is replaced atomically.

It holds no random state: order, augmentation and dropout are functions of (seed, step), see `seed_step`.
"""

import hashlib
import os
import random
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from promptseg.errors import CheckpointError, OutputError, WeightsError
from promptseg.ops.atomic import atomic_file
from promptseg.train.config import TrainConfig
from promptseg.train.optim import trainable_parameters
from promptseg.weights.convert.checkpoints import load_pickle

STATE_FILE = "state.pt"
_FORMAT = 1


@dataclass
class Progress:
    """The progress of a run.

    Attributes:
        step: Updates done.
        best_value: Best validation metric so far; None before the first validation.
        best_step: Step of that validation.
        num_stale: Validations since then.
        best_weights: Trainable weights at that step.
        checkpoint_step: Step of the last checkpoint on disk; 0 before the first.
        totals: Sums of the values since the last line of the log.
        count: Steps in those sums.
    """

    step: int = 0
    best_value: float | None = None
    best_step: int = 0
    num_stale: int = 0
    best_weights: dict[str, Tensor] = field(default_factory=dict)
    checkpoint_step: int = 0
    totals: dict[str, float] = field(default_factory=dict)
    count: int = 0

    def add(self, values: Mapping[str, Tensor | float]) -> None:
        """Add the values of a step to the next line of the log."""
        for name, value in values.items():
            number = value.item() if isinstance(value, Tensor) else value
            self.totals[name] = self.totals.get(name, 0.0) + number
        self.count += 1

    def take_means(self) -> dict[str, float]:
        """Return the means since the last call and reset them."""
        means = {name: total / self.count for name, total in self.totals.items()}
        self.totals, self.count = {}, 0
        return means


def seed_step(seed: int, step: int, rank: int = 0) -> None:
    """Seed every global generator for one step, so that a step can be repeated without the steps before it."""
    (value,) = np.random.SeedSequence((seed, step, rank)).generate_state(1)
    random.seed(int(value))
    np.random.seed(int(value))
    torch.manual_seed(int(value))


def fingerprint(tensors: Mapping[str, Tensor]) -> str:
    """Return the hash of the names and bytes of tensors, sha256 in hexadecimal."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def frozen_fingerprint(model: nn.Module) -> str:
    """Return the fingerprint of the frozen weights."""
    return fingerprint({name: p for name, p in model.named_parameters() if not p.requires_grad})


def trained_state(model: nn.Module) -> dict[str, Tensor]:
    """Return the part of a model's state that training can change: trainable parameters and buffers."""
    frozen = dict(model.named_parameters()).keys() - trainable_parameters(model).keys()
    return {name: value for name, value in model.state_dict().items() if name not in frozen}


def save_state(
    path: Path,
    *,
    progress: Progress,
    config: TrainConfig,
    commit: str | None,
    frozen: str,
    model: nn.Module,
    optimizer: Mapping[str, Any],
    scaler: Mapping[str, Any],
    average: Mapping[str, Tensor] | None,
) -> None:
    """Write the state of a run; a kill at any moment leaves the old file or the new one.

    Raises:
        OutputError: The file can't be written.
    """
    state = {
        "format": _FORMAT,
        "config": config.to_dict(),
        "commit": commit,
        "frozen": frozen,
        "progress": vars(progress),
        "model": trained_state(model),
        "optimizer": dict(optimizer),
        "scaler": dict(scaler),
        "average": average,
    }
    with atomic_file(path) as partial, partial.open("wb") as file:
        try:
            torch.save(state, file)
        except RuntimeError as error:  # torch reports a full disk like this
            raise OutputError(f"{path} can't be written: {error}") from error
        file.flush()
        os.fsync(file.fileno())


def load_state(path: Path, *, config: TrainConfig, frozen: str) -> dict[str, Any]:
    """Read the state of a run and check that it belongs to this run.

    Args:
        path: File of `save_state`.
        config: Config of the resumed run.
        frozen: `frozen_fingerprint` of its model.

    Raises:
        CheckpointError: The file is damaged, or of a run with another config or other frozen weights.
    """
    try:
        state: dict[str, Any] = load_pickle(path)
    except (OSError, WeightsError) as error:
        raise CheckpointError(f"{path} is damaged: {error}") from error
    if state.get("format") != _FORMAT:
        raise CheckpointError(f"{path} has format {state.get('format')}, this version reads {_FORMAT}")
    if missing := {"config", "frozen", "progress", "model", "optimizer", "scaler"} - state.keys():
        raise CheckpointError(f"{path} is damaged: it lacks {', '.join(sorted(missing))}")
    if differences := config.differences(state["config"]):
        raise CheckpointError(f"{path} is of a run with another config ({'; '.join(differences)}); start a new run")
    if state["frozen"] != frozen:
        raise CheckpointError(f"{path} is of a run on other frozen weights (towers); start a new run")
    return state


def restore_model(model: nn.Module, saved: Mapping[str, Tensor]) -> None:
    """Restore the state from `trained_state`.

    Raises:
        CheckpointError: The names do not match this model.
    """
    state = model.state_dict()
    own = trained_state(model).keys()
    if own != saved.keys():
        raise CheckpointError(f"the checkpoint is of another model: {', '.join(sorted(own ^ saved.keys())[:5])}")
    state.update(saved)
    model.load_state_dict(state)


def start_from(model: nn.Module, other: nn.Module) -> int:
    """Copy the weights of another model wherever names and shapes agree; return their number.

    Raises:
        CheckpointError: The models share no weight.
    """
    own = model.state_dict()
    shared = {
        name: value.to(own[name].dtype)
        for name, value in other.state_dict().items()
        if name in own and own[name].shape == value.shape
    }
    if not shared:
        raise CheckpointError("the model to start from shares no weight with the one to train: another architecture?")
    model.load_state_dict({**own, **shared})
    return len(shared)


def replace_directory(directory: Path, write: Callable[[Path], None]) -> None:
    """Write a directory under another name, then rename it into place.

    A kill between the two renames leaves no directory of that name; the resumed run repeats the step that wrote it.
    """
    new, old = (directory.with_name(f".{directory.name}.{suffix}") for suffix in ("new", "old"))
    for leftover in (new, old):
        shutil.rmtree(leftover, ignore_errors=True)
    write(new)
    if directory.exists():
        directory.rename(old)
    new.rename(directory)
    shutil.rmtree(old, ignore_errors=True)
