"""Models by their names: look up, build, load."""

import difflib
from importlib import resources
from pathlib import Path

import torch

from promptseg.errors import CheckpointError, UnknownModelError
from promptseg.models.build import Network, NetworkConfig, build_network
from promptseg.models.checkpoint import load_pretrained
from promptseg.models.clipseg.files import is_transformers_directory, load_original, load_published, load_transformers
from promptseg.models.grounded_sam.config import LangSamConfig
from promptseg.models.interactive.config import MaskerConfig
from promptseg.models.table import MODELS, ModelRecord
from promptseg.weights import ReportProgress

__all__ = ["MODELS", "ModelRecord", "build_model", "find_record", "get_model", "load_model"]


def find_record(name: str) -> ModelRecord:
    """Look a model up by its name.

    Raises:
        UnknownModelError: no model of that name; the message has the near ones.
    """
    if name not in MODELS:
        near = difflib.get_close_matches(name, MODELS, n=3, cutoff=0.4) or sorted(MODELS)
        raise UnknownModelError(f"no model is named {name!r}; near ones: {', '.join(near)}")
    return MODELS[name]


def build_model(config: NetworkConfig, *, pretrained: bool = False, offline: bool = False) -> Network:
    """Build an untrained model.

    Args:
        config: Architecture.
        pretrained: Read the towers' published weights, fetching them the first time; otherwise towers are random.
        offline: Don't use the network.

    Raises:
        UnknownModelError: the config names a tower that does not exist.
        WeightsError: a tower's weights can't be fetched, or don't fit.
    """
    towers = (config.image_tower, config.text_tower) if pretrained else ()
    return build_network(config, towers=towers, offline=offline)


def get_model(name: str, *, pretrained: bool = False, offline: bool = False) -> Network:
    """Build the untrained model of a row; arguments and errors as `find_record` and `build_model`."""
    config = find_record(name).config
    if isinstance(config, MaskerConfig | LangSamConfig):
        raise CheckpointError(f"{name} is made of published parts: there is no network to train")
    return build_model(config, pretrained=pretrained, offline=offline)


def load_model(name_or_path: str | Path, *, offline: bool = False, progress: ReportProgress | None = None) -> Network:
    """Load a trained model, ready for inference.

    Args:
        name_or_path: A shipped or published row, a test row (random weights, always the same), a checkpoint's
            directory, one in which transformers has saved a CLIPSeg, or a file of the original CLIPSeg.
        offline: Don't use the network.
        progress: Told (name, bytes here, bytes in all) while weights are fetched.

    Raises:
        UnknownModelError: neither a row nor a path.
        CheckpointError: the row has no trained weights, or the checkpoint does not fit.
        WeightsError: weights can't be fetched or read.
    """
    path = Path(name_or_path)
    if str(name_or_path) not in MODELS and path.exists():
        load = load_original if path.is_file() else load_pretrained
        if is_transformers_directory(path):
            load = load_transformers
        return load(path, offline=offline, progress=progress).eval()
    record = find_record(str(name_or_path))
    if isinstance(record.config, MaskerConfig | LangSamConfig):
        raise CheckpointError(f"{record.name} is made of published parts, not a network: promptseg.load takes it")
    if record.status == "shipped":
        with resources.as_file(resources.files("promptseg") / "checkpoints" / record.name) as directory:
            return load_pretrained(directory, offline=offline, progress=progress).eval()
    if record.status == "published":
        return load_published(offline=offline, progress=progress).eval()
    if record.status == "test":
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(0)
            return get_model(record.name).eval()
    raise CheckpointError(f"{record.name} has no trained weights: train it with recipes/, then load its directory")
