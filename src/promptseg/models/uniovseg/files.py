"""Read the authors' checkpoint of the first stage, and make the start of a training run from OpenCLIP's file."""

import zipfile
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from promptseg.encoders.open_clip import load_part, read_open_clip
from promptseg.encoders.towers import load_vocabulary
from promptseg.errors import CheckpointError
from promptseg.models.build import build_network
from promptseg.models.checkpoint import load_trained, save_pretrained
from promptseg.models.registry import LoadOptions, NetworkSource
from promptseg.models.uniovseg.config import UniOvSegConfig
from promptseg.models.uniovseg.layouts import MASK_PREFIX, config_from_stage1, rename_stage1
from promptseg.models.uniovseg.network import UniOvSeg
from promptseg.ops.deferred import Deferred
from promptseg.weights import ReportProgress
from promptseg.weights.cache import file_sha256
from promptseg.weights.convert.checkpoints import as_state_dict, load_pickle, load_tensors

# Of the names alone; the tensors lie beside them.
MAX_PICKLE_BYTES = 16_000_000


def is_stage1(path: Path) -> bool:
    """Return whether a file names weights of Uni-OVSeg's mask decoder; no code in it is run."""
    try:
        if path.suffix == ".safetensors":
            with safe_open(path, framework="pt") as tensors:
                return any(name.startswith(MASK_PREFIX) for name in tensors.keys())
        with zipfile.ZipFile(path) as archive:
            # the names of the weights stand in the pickle as they are
            pickles = [info for info in archive.infolist() if info.filename.endswith("/data.pkl")]
            return any(
                info.file_size <= MAX_PICKLE_BYTES and MASK_PREFIX.encode() in archive.read(info) for info in pickles
            )
    except (OSError, SafetensorError, zipfile.BadZipFile):
        return False


def load_stage1(path: Path, *, offline: bool = False, progress: ReportProgress | None = None) -> UniOvSeg:
    """Load the first stage that the authors published, with the CLIP in it; its adapter is untrained.

    Args:
        path: A PyTorch file (no code in it is run) or a .safetensors file with the same names.
        offline: Don't access the network for the vocabulary.
        progress: Called with (name, bytes fetched, total bytes) while the vocabulary is fetched.

    Raises:
        CheckpointError: The file has another layout; the message names the difference.
        WeightsError: The file can't be read, or the vocabulary can't be fetched.
    """
    tensors = _read(path)
    model = build_network(config_from_stage1(tensors, str(path)))
    assert isinstance(model, UniOvSeg)  # as its config
    untrained = {name: value for name, value in model.state_dict().items() if name.startswith("adapter.")}
    assert model.text_tower is not None  # both layouts have one
    load_trained(model, {**untrained, **rename_stage1(tensors, str(path))}, source=str(path))
    load_vocabulary(model.text_tower, offline=offline, progress=progress)
    return model


def stage1_source(path: Path, options: LoadOptions) -> tuple[UniOvSegConfig, NetworkSource]:
    """Load the authors' first stage as a source; errors as `load_stage1`."""
    network = load_stage1(path, offline=options.offline, progress=options.progress).eval()
    return network.config, NetworkSource(file_sha256(path), Deferred.of(network))


def save_start(clip_file: Path, directory: Path, config: UniOvSegConfig | None = None) -> None:
    """Write a checkpoint with OpenCLIP's towers and untrained decoders, to start the training from (`--init`).

    Args:
        clip_file: OpenCLIP's convnext_large_d_320, such as open_clip_pytorch_model.safetensors.
        directory: Target directory.
        config: Architecture; None: that of the row "uniovseg".

    Raises:
        WeightsError: The file can't be read, or does not hold the towers of the config.
        CheckpointError: The config does not store its towers.
        OutputError: The directory can't be written.
    """
    config = config or UniOvSegConfig()
    if config.text_tower is None:
        raise CheckpointError("OpenCLIP's towers take names: use a config with a text tower")
    if config.published_towers:
        raise CheckpointError('the checkpoint would not hold the towers: use a config with towers="stored"')
    model = build_network(config)
    assert isinstance(model, UniOvSeg) and model.text_tower is not None  # as its config
    tensors = read_open_clip(clip_file)
    load_part(model.image_tower, "image", tensors, source=str(clip_file))
    load_part(model.text_tower, "text", tensors, source=str(clip_file))
    save_pretrained(model, directory)


def _read(path: Path) -> Mapping[str, Tensor]:
    if path.suffix == ".safetensors":
        return load_tensors(path)
    content = load_pickle(path)
    # detectron2 saves the optimizer beside the model
    model = content.get("model", content)
    if not isinstance(model, dict):
        raise CheckpointError(f"{path}: 'model' is a {type(model).__name__}, not a state dict")
    return as_state_dict(model, path.name)
