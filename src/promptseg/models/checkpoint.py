"""Models on disk: a directory with config.json and model.safetensors.

Only what was trained is stored. Frozen towers are named in config.json, with the hashes of their published files.
"""

import json
import os
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from promptseg.encoders.towers import load_vocabulary, tower_weights
from promptseg.errors import CheckpointError, OutputError
from promptseg.models.build import CONFIGS, Network, NetworkConfig, build_network
from promptseg.weights import ReportProgress, find_record

FORMAT = "promptseg-checkpoint-1"
CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"


def save_pretrained(model: Network, directory: Path, *, half: bool = False) -> None:
    """Write a model's config and what was trained of it.

    Files are written under a temporary name and renamed, so a reader never sees half a file.

    Args:
        model: What to save.
        directory: Where to; made if missing. Files of an earlier checkpoint there are replaced.
        half: Store matrices and filters as float16 for a file of half the size. Vectors (norms, biases) stay float32.

    Raises:
        OutputError: the directory can't be written, or a value is too large for `half`.
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
        "towers": _needed_towers(model.config),
        "config": model.config.to_dict(),
    }
    text = _lay_out(description) + "\n"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        # Not save_file: it makes files that only their owner can read.
        _write(directory / WEIGHTS_FILE, save(state, metadata={"format": FORMAT}))
        _write(directory / CONFIG_FILE, text.encode())
    except (OSError, SafetensorError) as error:
        raise OutputError(f"can't write a checkpoint to {directory}: {error}") from error


def load_pretrained(directory: Path, *, offline: bool = False, progress: ReportProgress | None = None) -> Network:
    """Read a model that `save_pretrained` wrote.

    Args:
        directory: The checkpoint.
        offline: Don't use the network for the towers' weights.
        progress: Told (name, bytes here, bytes in all) while towers' weights are fetched.

    Raises:
        CheckpointError: not a checkpoint, one of another model, damaged, or with weights that are missing, too many, of
            another shape or not finite.
        WeightsError: a tower's weights can't be fetched.
    """
    description = _read_description(directory)
    config = CONFIGS[description["architecture"]].from_dict(description["config"])
    _check_towers(directory, description["towers"], config)
    state = _read_state(directory / WEIGHTS_FILE)
    try:
        # a tower that was trained stays random here: the checkpoint has it
        model = build_network(config, towers=config.published_towers, offline=offline, progress=progress)
    except ValueError as error:
        raise CheckpointError(f"{directory} has a config that fits no model: {error}") from error
    if config.text_tower not in config.published_towers:
        load_vocabulary(model.text_tower, offline=offline, progress=progress)
    load_trained(model, state, source=str(directory / WEIGHTS_FILE))
    return model


def load_trained(model: Network, state: dict[str, Tensor], *, source: str) -> None:
    """Put trained weights into a model, in place.

    Args:
        model: Its towers are already as published.
        state: Exactly the names of `model.trained_names()`.
        source: Where they are from, for messages.

    Raises:
        CheckpointError: weights are missing, too many, of another shape or not finite.
    """
    names = model.trained_names()
    if missing := sorted(names - state.keys()):
        raise CheckpointError(f"{source} lacks {len(missing)} weights of the model: {_some(missing)}")
    if unexpected := sorted(state.keys() - names):
        raise CheckpointError(f"{source} has {len(unexpected)} weights that the model has not: {_some(unexpected)}")
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
    """Write an object as JSON with one line for each field, and for each field of an object in it; no deeper."""
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


def _needed_towers(config: NetworkConfig) -> dict[str, list[str]]:
    """Map each tower that a checkpoint does not store to the hashes of its published files."""
    return {
        tower: [file.sha256 for weight in tower_weights(tower) for file in find_record(weight).files]
        for tower in config.published_towers
    }


def _check_towers(directory: Path, towers: dict[str, list[str]], config: NetworkConfig) -> None:
    needed = _needed_towers(config)
    for tower, hashes in needed.items():
        if towers.get(tower) != hashes:
            raise CheckpointError(
                f"{directory} was trained on other weights of {tower} than this version of promptseg has"
            )


def _read_description(directory: Path) -> dict[str, Any]:
    path = directory / CONFIG_FILE
    if not directory.is_dir():
        raise CheckpointError(f"{directory} is not a directory; a checkpoint is one, with {CONFIG_FILE} in it")
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CheckpointError(f"{directory} is not a checkpoint: it has no {CONFIG_FILE}") from error
    except (OSError, ValueError) as error:
        raise CheckpointError(f"can't read {path}: {error}") from error
    if not isinstance(description, dict) or description.get("format") != FORMAT:
        raise CheckpointError(f"{path} is not a promptseg checkpoint (its format is not {FORMAT!r})")
    if str(description.get("architecture")) not in CONFIGS:
        raise CheckpointError(f"{path} is a checkpoint of another model: {description.get('architecture')!r}")
    for name in ("config", "towers"):
        if not isinstance(description.get(name), dict):
            raise CheckpointError(f"{path} lacks {name!r}")
    return description


def _read_state(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except FileNotFoundError as error:
        raise CheckpointError(f"{path.parent} is not a checkpoint: it has no {path.name}") from error
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"can't read {path}: {error}") from error


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
