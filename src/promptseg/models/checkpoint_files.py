"""Read the description of a checkpoint, config.json, and compute its identity. Nothing here imports torch.

A checkpoint is a directory with config.json and model.safetensors. It stores only trained weights; config.json names
the frozen towers and the hashes of their published files.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from promptseg.encoders.tower_facts import tower_weights
from promptseg.errors import CheckpointError, UnknownModelError
from promptseg.models.table import NETWORK_CONFIGS, ModelConfig, NetworkConfig
from promptseg.untrusted_files import read_json
from promptseg.weights import find_record

FORMAT = "promptseg-checkpoint-1"
CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"


@dataclass(frozen=True)
class CheckpointDescription:
    """Content of a checkpoint's config.json.

    Attributes:
        directory: Directory of the checkpoint.
        config: Config of the network.
    """

    directory: Path
    config: NetworkConfig

    @property
    def weights_path(self) -> Path:
        """Path of the file with the trained weights."""
        return self.directory / WEIGHTS_FILE

    def identity(self) -> str:
        """Hash the config and the weights file; different checkpoints have different identities.

        Raises:
            CheckpointError: The weights file can't be read.
        """
        digest = hashlib.sha256(config_text(self.config).encode())
        try:
            with self.weights_path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        except FileNotFoundError as error:
            raise CheckpointError(f"{self.directory} is not a checkpoint: it has no {WEIGHTS_FILE}") from error
        except OSError as error:
            raise CheckpointError(f"can't read {self.weights_path}: {error}") from error
        return digest.hexdigest()


def config_text(config: ModelConfig) -> str:
    """Write a config as text; equal configs give equal text."""
    return json.dumps({"architecture": config.architecture, **config.to_dict()}, sort_keys=True)


def read_description(directory: Path) -> CheckpointDescription:
    """Read config.json of a checkpoint.

    Raises:
        CheckpointError: The directory is not a checkpoint, belongs to another model, or was trained on other weights
            of its towers.
    """
    description = _read_json(directory)
    architecture = str(description.get("architecture"))
    if architecture == "promptseg" and description["config"].get("decoder_depth"):
        architecture = "promptseg-s1"  # version 0.1 had one config for both architectures
        dropped = ("dense", "refiner")
        description["config"] = {k: v for k, v in description["config"].items() if k not in dropped}
    try:
        config = NETWORK_CONFIGS[architecture].from_dict(description["config"])
        needed = needed_towers(config)
    except (CheckpointError, UnknownModelError) as error:
        raise CheckpointError(f"{directory / CONFIG_FILE}: {error}") from error
    for tower, hashes in needed.items():
        if description["towers"].get(tower) != hashes:
            raise CheckpointError(
                f"{directory} was trained on other weights of {tower} than this version of promptseg has"
            )
    return CheckpointDescription(directory, config)


def is_checkpoint(directory: Path) -> bool:
    """Return whether a directory's config.json is that of a checkpoint of promptseg, of whatever model."""
    try:
        description = json.loads((directory / CONFIG_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(description, dict) and description.get("format") == FORMAT


def needed_towers(config: NetworkConfig) -> dict[str, list[str]]:
    """Map each tower that a checkpoint does not store to the hashes of its published files."""
    return {
        tower: [file.sha256 for weight in tower_weights(tower) for file in find_record(weight).files]
        for tower in config.published_towers
    }


def _read_json(directory: Path) -> dict[str, Any]:
    path = directory / CONFIG_FILE
    if not directory.is_dir():
        raise CheckpointError(f"{directory} is not a directory; a checkpoint is one, with {CONFIG_FILE} in it")
    try:
        description = read_json(path)
    except FileNotFoundError as error:
        raise CheckpointError(f"{directory} is not a checkpoint: it has no {CONFIG_FILE}") from error
    except (OSError, ValueError) as error:
        raise CheckpointError(f"can't read {path}: {error}") from error
    if not isinstance(description, dict) or description.get("format") != FORMAT:
        raise CheckpointError(f"{path} is not a promptseg checkpoint (its format is not {FORMAT!r})")
    if str(description.get("architecture")) not in NETWORK_CONFIGS:
        raise CheckpointError(f"{path} is a checkpoint of another model: {description.get('architecture')!r}")
    for name in ("config", "towers"):
        if not isinstance(description.get(name), dict):
            raise CheckpointError(f"{path} lacks {name!r}")
    return description
