"""Read and write CLIPSeg in the file formats of its authors and of transformers."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from promptseg import weights
from promptseg.encoders.clip_text import ClipText
from promptseg.encoders.clip_vision import ClipVision
from promptseg.encoders.tower_facts import CLIP_MEAN, IMAGENET_MEAN
from promptseg.encoders.towers import load_vocabulary
from promptseg.errors import CheckpointError, OutputError
from promptseg.models.build import build_network
from promptseg.models.checkpoint import load_trained
from promptseg.models.clipseg.config import ClipSegConfig
from promptseg.models.clipseg.layouts import (
    LOGIT_SCALE,
    TOWER_PREFIXES,
    config_from_original,
    config_from_transformers,
    decoder_from_transformers,
    decoder_to_transformers,
    towers_from_transformers,
)
from promptseg.models.clipseg.network import ClipSeg
from promptseg.models.registry import LoadOptions, NetworkSource
from promptseg.ops.atomic import atomic_file
from promptseg.ops.deferred import Deferred
from promptseg.untrusted_files import read_json
from promptseg.weights import ReportProgress
from promptseg.weights.cache import file_sha256
from promptseg.weights.convert.checkpoints import as_state_dict, load_pickle, load_tensors, write_tensors
from promptseg.weights.convert.clip import CLIPSEG_CONFIG, CLIPSEG_DECODER

PUBLISHED = "clipseg-rd64-refined"
# Prefixes of unused weights in the original files, or of those that a save of the whole model adds.
ORIGINAL_UNUSED = ("reduce.", "clip_model.", "model.")


def load_published(*, offline: bool = False, progress: ReportProgress | None = None) -> ClipSeg:
    """Load the authors' checkpoint from the model hub; it is fetched on first use.

    Raises:
        WeightsError: The checkpoint can't be fetched.
    """
    directory = weights.resolve(PUBLISHED, offline=offline, progress=progress)
    config = config_from_transformers(_read_json(directory / CLIPSEG_CONFIG), clip=PUBLISHED, towers="published")
    state = decoder_from_transformers(load_tensors(directory / CLIPSEG_DECODER))
    model = _build(config, offline=offline, progress=progress)
    load_trained(model, state, source=PUBLISHED)
    return model


def load_original(path: Path, *, offline: bool = False, progress: ReportProgress | None = None) -> ClipSeg:
    """Load a decoder that the original code saved, such as rd64-uni-refined.pth, with the published CLIP.

    Args:
        path: A PyTorch file (no code in it is run) or a .safetensors file with the same names.
        offline: Don't access the network for CLIP.
        progress: Called with (name, bytes fetched, total bytes) while CLIP is fetched.

    Raises:
        CheckpointError: The file is not a CLIPSeg decoder, or has another layout; the message names the difference.
        WeightsError: The file can't be read, or CLIP can't be fetched.
    """
    tensors = load_tensors(path) if path.suffix == ".safetensors" else as_state_dict(load_pickle(path), path.name)
    state = {name: value for name, value in tensors.items() if not name.startswith(ORIGINAL_UNUSED)}
    model = _build(config_from_original(state, str(path)), offline=offline, progress=progress)
    load_trained(model, {f"decoder.{name}": value for name, value in state.items()}, source=str(path))
    return model


def load_transformers(directory: Path, *, offline: bool = False, progress: ReportProgress | None = None) -> ClipSeg:
    """Load a model that transformers' CLIPSegForImageSegmentation saved, with the CLIP in it, which may be fine-tuned.

    Args:
        directory: Directory with config.json and model.safetensors or pytorch_model.bin. A vocabulary in it is used;
            otherwise CLIP's vocabulary is fetched.
        offline: Don't access the network for the vocabulary.
        progress: Called with (name, bytes fetched, total bytes) while the vocabulary is fetched.

    Raises:
        CheckpointError: The directory holds no CLIPSeg, or one of another form; the message names the difference.
        WeightsError: A file can't be read, or the vocabulary can't be fetched.
    """
    config = _with_preprocessing(config_from_transformers(_read_json(directory / "config.json")), directory)
    model = build_network(config)
    assert isinstance(model, ClipSeg) and isinstance(model.text_tower, ClipText)
    if (directory / "vocab.json").is_file() or (directory / "tokenizer.json").is_file():
        model.text_tower.load_tokenizer(directory)
    else:
        load_vocabulary(model.text_tower, offline=offline, progress=progress)
    path = directory / "model.safetensors"
    if path.is_file():
        tensors = load_tensors(path)
    else:
        path = directory / "pytorch_model.bin"
        if not path.is_file():
            raise CheckpointError(f"{directory} has no model.safetensors and no pytorch_model.bin")
        tensors = as_state_dict(load_pickle(path), path.name)
    load_trained(model, {**decoder_from_transformers(tensors), **towers_from_transformers(tensors)}, source=str(path))
    return model


def published_source(options: LoadOptions) -> tuple[ClipSegConfig, NetworkSource]:
    """Load the authors' checkpoint as a source; errors as `load_published`."""
    return _source(load_published(offline=options.offline, progress=options.progress), PUBLISHED)


def original_source(path: Path, options: LoadOptions) -> tuple[ClipSegConfig, NetworkSource]:
    """Load a decoder file of the original code as a source; errors as `load_original`."""
    return _source(load_original(path, offline=options.offline, progress=options.progress), file_sha256(path))


def transformers_source(directory: Path, options: LoadOptions) -> tuple[ClipSegConfig, NetworkSource]:
    """Load a directory of transformers as a source; errors as `load_transformers`."""
    network = load_transformers(directory, offline=options.offline, progress=options.progress)
    hashes = [file_sha256(path) for path in sorted(directory.glob("*.safetensors")) + sorted(directory.glob("*.bin"))]
    return _source(network, " ".join(hashes))


def _source(network: ClipSeg, identity: str) -> tuple[ClipSegConfig, NetworkSource]:
    return network.config, NetworkSource(identity, Deferred.of(network.eval()))


def is_transformers_directory(directory: Path) -> bool:
    """Return whether a directory holds a model of transformers, judged by its config.json.

    Raises:
        CheckpointError: config.json can't be read.
    """
    path = directory / "config.json"
    return path.is_file() and "model_type" in _read_json(path)


def save_original(model: ClipSeg, path: Path) -> None:
    """Write the decoder alone, for `load_state_dict(..., strict=False)` in the original code.

    Raises:
        OutputError: The original code has no such model, or the file can't be written.
    """
    _check_published_form(model)
    state = {name: value.detach().cpu().clone() for name, value in model.decoder.state_dict().items()}
    with atomic_file(path) as temporary:
        torch.save(state, temporary)


def save_transformers(model: ClipSeg, directory: Path) -> None:
    """Write a directory for transformers' CLIPSegForImageSegmentation and CLIPSegProcessor, CLIP included.

    Args:
        model: A model with CLIP's towers. If its text tower has no vocabulary, none is written.
        directory: Target directory; created if missing.

    Raises:
        OutputError: transformers has no such model, or the directory can't be written.
    """
    _check_published_form(model)
    assert isinstance(model.image_tower, ClipVision) and isinstance(model.text_tower, ClipText)
    # imported here because the import of transformers takes seconds
    from transformers import CLIPSegConfig

    config = model.config
    image_config, text_config = model.image_tower.model.config, model.text_tower.clip.config
    described = CLIPSegConfig(
        architectures=["CLIPSegForImageSegmentation"],
        text_config={name: getattr(text_config, name) for name in _shared_fields(text_config)},
        vision_config={name: getattr(image_config, name) for name in _shared_fields(image_config)},
        projection_dim=model.text_tower.dim,
        extract_layers=list(config.image_layers),
        reduce_dim=config.dim,
        decoder_num_attention_heads=config.num_heads,
        decoder_intermediate_size=config.mlp_dim,
        conditional_layer=config.film_block,
        use_complex_transposed_convolution=config.head == "refined",
    )
    state = {name.removeprefix("decoder."): value for name, value in model.state_dict().items()}
    tensors = decoder_to_transformers({name: state[name] for name in model.decoder.state_dict()})
    for theirs, ours in TOWER_PREFIXES.items():
        tensors |= {theirs + name.removeprefix(ours): value for name, value in state.items() if name.startswith(ours)}
    tensors[LOGIT_SCALE] = torch.tensor(100.0).log()
    statistics = model.pixel_statistics
    preprocessor = {
        "image_processor_type": "ViTImageProcessor",
        "processor_class": "CLIPSegProcessor",
        "do_resize": True,
        "do_rescale": True,
        "do_normalize": True,
        "resample": 2,
        "size": {"height": config.image_size, "width": config.image_size},
        "image_mean": list(statistics.mean),
        "image_std": list(statistics.std),
    }
    try:
        directory.mkdir(parents=True, exist_ok=True)
        described.save_pretrained(directory)
        write_tensors(directory / "model.safetensors", {name: value.cpu() for name, value in tensors.items()})
        (directory / "preprocessor_config.json").write_text(json.dumps(preprocessor, indent=2) + "\n")
        model.text_tower.save_tokenizer(directory)
    except OSError as error:
        raise OutputError(f"can't write a model to {directory}: {error.strerror or error}") from error


def _build(config: ClipSegConfig, *, offline: bool, progress: ReportProgress | None) -> ClipSeg:
    model = build_network(config, towers=config.published_towers, offline=offline, progress=progress)
    assert isinstance(model, ClipSeg)
    return model


def _with_preprocessing(config: ClipSegConfig, directory: Path) -> ClipSegConfig:
    """Take the input size and pixel statistics from preprocessor_config.json, if there is one.

    Raises:
        CheckpointError: The pixels are normalized by an unknown mean.
    """
    path = directory / "preprocessor_config.json"
    if not path.is_file():
        return config
    values = _read_json(path)
    size, mean = values.get("size"), values.get("image_mean", IMAGENET_MEAN)
    side = size.get("height", config.image_size) if isinstance(size, dict) else size or config.image_size
    if np.allclose(mean, IMAGENET_MEAN, atol=1e-3):
        return replace(config, image_size=side, pixel_statistics="imagenet")
    if np.allclose(mean, CLIP_MEAN, atol=1e-3):
        return replace(config, image_size=side, pixel_statistics="tower")
    raise CheckpointError(
        f"{path}: pixels are normalized by the mean {mean}; only the means of ImageNet and CLIP are known"
    )


def _check_published_form(model: ClipSeg) -> None:
    """Refuse models that the published formats can't represent.

    Raises:
        OutputError: The head or the blocks are of another kind, or the towers are not CLIP's.
    """
    config = model.config
    clip = isinstance(model.image_tower, ClipVision) and isinstance(model.text_tower, ClipText)
    if config.head == "linear" or config.block == "mlp" or not clip:
        raise OutputError(
            f"this format holds only CLIPSeg itself, not a model with head {config.head!r}, block {config.block!r} on "
            f"{config.image_tower} and {config.text_tower}: use save_pretrained"
        )


def _shared_fields(config: Any) -> set[str]:
    """Name the fields that the configs of CLIP and CLIPSeg share."""
    return set(config.to_diff_dict()) - {"architectures", "model_type", "transformers_version", "dtype"}


def _read_json(path: Path) -> dict[str, Any]:
    try:
        values = read_json(path)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"can't read {path}: {error}") from error
    if not isinstance(values, dict):
        raise CheckpointError(f"can't read {path}: it is not a JSON object")
    return values
