"""Read and write the weights of a checkpoint; `checkpoint_files` defines the format."""

import json
import os
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from promptseg.encoders.towers import load_vocabulary
from promptseg.errors import CheckpointError, OutputError
from promptseg.models.build import Network, build_network
from promptseg.models.checkpoint_files import CONFIG_FILE, FORMAT, WEIGHTS_FILE, needed_towers, read_description
from promptseg.weights import ReportProgress


def save_pretrained(model: Network, directory: Path, *, half: bool = False) -> None:
    """Write a model's config and trained weights to a directory.

    Each file is written under a temporary name and renamed, so a reader never sees a partial file.

    Args:
        model: The model to save.
        directory: Target directory; created if missing. Files of an earlier checkpoint there are replaced.
        half: Store matrices and filters as float16, which halves the file. Vectors (norms, biases) stay float32.

    Raises:
        OutputError: The directory can't be written, or a value is too large for float16.
    """
    names = model.trained_names()
    state = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items() if name in names}
    if half:
        for name, value in state.items():
            if _is_matrix(value) and value.numel() and value.abs().max() > torch.finfo(torch.float16).max:
                raise OutputError(f"{name} has values too large for float16: save with half=False")
        state = {name: value.half() if _is_matrix(value) else value for name, value in state.items()}
    description = {
        "format": FORMAT,
        "architecture": model.config.architecture,
        "towers": needed_towers(model.config),
        "config": model.config.to_dict(),
    }
    text = _lay_out(description) + "\n"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        # not save_file: it creates files that only their owner can read
        _write(directory / WEIGHTS_FILE, save(state, metadata={"format": FORMAT}))
        _write(directory / CONFIG_FILE, text.encode())
    except (OSError, SafetensorError) as error:
        raise OutputError(f"can't write a checkpoint to {directory}: {error}") from error


def load_pretrained(directory: Path, *, offline: bool = False, progress: ReportProgress | None = None) -> Network:
    """Read a model that `save_pretrained` wrote.

    Args:
        directory: The checkpoint.
        offline: Don't access the network for the towers' weights.
        progress: Called with (name, bytes fetched, total bytes) while the towers' weights are fetched.

    Raises:
        CheckpointError: The directory is not a checkpoint, belongs to another model, or is damaged; or weights are
            missing, unexpected, of another shape, or not finite.
        WeightsError: A tower's weights can't be fetched.
    """
    config = read_description(directory).config
    state = _read_state(directory / WEIGHTS_FILE)
    try:
        # a trained tower stays random here: the checkpoint holds its weights
        model = build_network(config, towers=config.published_towers, offline=offline, progress=progress)
    except (ValueError, RuntimeError, MemoryError) as error:  # RuntimeError: PyTorch has no memory for so large a layer
        raise CheckpointError(f"{directory} has a config that fits no model: {error}") from error
    if model.text_tower is not None and config.text_tower not in config.published_towers:
        load_vocabulary(model.text_tower, offline=offline, progress=progress)
    load_trained(model, state, source=str(directory / WEIGHTS_FILE))
    return model


def load_trained(model: Network, state: dict[str, Tensor], *, source: str) -> None:
    """Load trained weights into a model, in place.

    Args:
        model: Already holds the published weights of its towers.
        state: Weights under exactly the names of `model.trained_names()`.
        source: Origin of the weights, for messages.

    Raises:
        CheckpointError: Weights are missing, unexpected, of another shape, or not finite.
    """
    names = model.trained_names()
    if missing := sorted(names - state.keys()):
        raise CheckpointError(f"{source} lacks {len(missing)} weights of the model: {_some(missing)}")
    if unexpected := sorted(state.keys() - names):
        raise CheckpointError(f"{source} has {len(unexpected)} weights that the model lacks: {_some(unexpected)}")
    own = model.state_dict()
    for name, value in state.items():
        if value.shape != own[name].shape:
            raise CheckpointError(
                f"{source}: {name} has shape {tuple(value.shape)}, the model needs {tuple(own[name].shape)}"
            )
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise CheckpointError(f"{source}: {name} holds values that are not finite (NaN or infinity)")
    model.load_state_dict({**own, **state}, strict=True)


def _lay_out(values: dict[str, Any], indent: str = "") -> str:
    """Write an object as JSON: one line per field, and one per field of a nested object, down to this level only."""
    deeper = indent + "  "
    lines = []
    for name, value in values.items():
        nested = isinstance(value, dict) and not indent
        text = _lay_out(value, deeper) if nested else json.dumps(value, ensure_ascii=False)
        lines.append(f"{deeper}{json.dumps(name)}: {text}")
    return "{\n" + ",\n".join(lines) + f"\n{indent}}}"


def _write(path: Path, content: bytes) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        partial.write_bytes(content)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _is_matrix(value: Tensor) -> bool:
    return value.is_floating_point() and value.ndim >= 2


def _read_state(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except FileNotFoundError as error:
        raise CheckpointError(f"{path.parent} is not a checkpoint: it has no {path.name}") from error
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"can't read {path}: {error}") from error


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
