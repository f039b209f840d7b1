"""Convert CLIP: the byte-pair vocabulary to a tokenizer directory, both towers, and CLIPSeg, which contains CLIP.

Source:
    Radford et al. 2021, arXiv:2103.00020; vocabulary layout of openai/CLIP clip/simple_tokenizer.py @ a1d0717 (MIT).
"""

import gzip
import json
import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from promptseg.errors import WeightsError
from promptseg.weights.convert.checkpoints import as_state_dict, load_pickle, load_tensors, write_tensors

if TYPE_CHECKING:
    from transformers import CLIPConfig

CLIPSEG_DECODER = "decoder.safetensors"
CLIPSEG_CONFIG = "clipseg.json"
_HEAD_DIM = 64
# The published file lists more merges than CLIP uses: 49,408 tokens minus 2 x 256 bytes and 2 special tokens.
_NUM_MERGES = 49152 - 256 - 2
_START, _END = "<|startoftext|>", "<|endoftext|>"


def convert_clip_tokenizer(files: Mapping[str, Path], target: Path) -> None:
    """Write a directory for transformers' CLIPTokenizer."""
    ((_, path),) = files.items()
    _write_tokenizer(path, target)


def convert_clip(files: Mapping[str, Path], target: Path) -> None:
    """Write a directory for transformers' CLIPModel, its two towers separately, and CLIPTokenizer.

    Raises:
        WeightsError: The checkpoint is not a CLIP model.
    """
    checkpoint = next(path for name, path in files.items() if name.endswith(".bin"))
    _write_clip(as_state_dict(load_pickle(checkpoint), checkpoint.name), target)
    _write_tokenizer(_vocabulary(files), target)


def convert_clipseg(files: Mapping[str, Path], target: Path) -> None:
    """Split CLIPSeg: its CLIP in the layout of `convert_clip`, its decoder and its config unchanged.

    Raises:
        WeightsError: The checkpoint is not a CLIPSeg.
    """
    tensors = load_tensors(files["model.safetensors"])
    inside = {name.removeprefix("clip."): tensor for name, tensor in tensors.items() if name.startswith("clip.")}
    decoder = {name: tensor for name, tensor in tensors.items() if name.startswith("decoder.")}
    if not decoder:
        raise WeightsError("not a CLIPSeg: it has no decoder")
    _write_clip(inside, target)
    _write_tokenizer(_vocabulary(files), target)
    write_tensors(target / CLIPSEG_DECODER, decoder)
    shutil.copyfile(files["config.json"], target / CLIPSEG_CONFIG)


def clip_config(tensors: Mapping[str, Tensor]) -> "CLIPConfig":
    """Derive the config from the shapes of the tensors, which have the names of the hub's file.

    Raises:
        WeightsError: The tensors are not those of a CLIP model.
    """
    # imported here: the import of transformers takes seconds, and most conversions don't need it
    from transformers import CLIPConfig

    try:
        vocab_size, text_size = tensors["text_model.embeddings.token_embedding.weight"].shape
        num_tokens = tensors["text_model.embeddings.position_embedding.weight"].shape[0]
        text_inner_size = tensors["text_model.encoder.layers.0.mlp.fc1.weight"].shape[0]
        projection_dim = tensors["text_projection.weight"].shape[0]
        image_size, _, _, patch_size = tensors["vision_model.embeddings.patch_embedding.weight"].shape
        num_cells = tensors["vision_model.embeddings.position_embedding.weight"].shape[0] - 1
        image_inner_size = tensors["vision_model.encoder.layers.0.mlp.fc1.weight"].shape[0]
    except KeyError as error:
        raise WeightsError(f"not a CLIP: {error.args[0]} is missing") from error
    text = {
        "vocab_size": vocab_size,
        "hidden_size": text_size,
        "intermediate_size": text_inner_size,
        "num_hidden_layers": _num_layers(tensors, "text_model"),
        "num_attention_heads": text_size // _HEAD_DIM,
        "max_position_embeddings": num_tokens,
        "bos_token_id": vocab_size - 2,
        "eos_token_id": vocab_size - 1,
        "projection_dim": projection_dim,
    }
    vision = {
        "hidden_size": image_size,
        "intermediate_size": image_inner_size,
        "num_hidden_layers": _num_layers(tensors, "vision_model"),
        "num_attention_heads": image_size // _HEAD_DIM,
        "image_size": math.isqrt(num_cells) * patch_size,
        "patch_size": patch_size,
        "projection_dim": projection_dim,
    }
    return CLIPConfig(
        architectures=["CLIPModel"], text_config=text, vision_config=vision, projection_dim=projection_dim
    )


def _num_layers(tensors: Mapping[str, Tensor], part: str) -> int:
    prefix = f"{part}.encoder.layers."
    return len({name.removeprefix(prefix).split(".")[0] for name in tensors if name.startswith(prefix)})


def _write_clip(tensors: Mapping[str, Tensor], target: Path) -> None:
    # older versions also stored a buffer of position indexes
    kept = {name: tensor for name, tensor in tensors.items() if not name.endswith("position_ids")}
    clip_config(kept).save_pretrained(target)
    write_tensors(target / "model.safetensors", kept)


def _vocabulary(files: Mapping[str, Path]) -> Path:
    return next(path for name, path in files.items() if name.endswith(".txt.gz"))


def _write_tokenizer(path: Path, target: Path) -> None:
    # the first line is the version of the file
    lines = gzip.decompress(path.read_bytes()).decode().splitlines()[1 : _NUM_MERGES + 1]
    characters = _byte_characters()
    tokens = [*characters, *(character + "</w>" for character in characters)]
    tokens += ["".join(line.split()) for line in lines] + [_START, _END]
    (target / "vocab.json").write_text(json.dumps({token: number for number, token in enumerate(tokens)}))
    (target / "merges.txt").write_text("\n".join(["#version: 0.2", *lines]) + "\n")
    settings = {"tokenizer_class": "CLIPTokenizer", "model_max_length": 77, "bos_token": _START}
    settings |= {"eos_token": _END, "pad_token": _END, "unk_token": _END}
    (target / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n")


def _byte_characters() -> list[str]:
    """List the visible character for each byte, in the order of GPT-2's byte-level vocabulary."""
    visible = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    num_hidden = 256 - len(visible)
    return [chr(number) for number in [*visible, *range(256, 256 + num_hidden)]]
