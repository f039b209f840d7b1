"""CLIP's text side: the byte-pair vocabulary as a tokenizer directory, and the text tower alone.

Source:
    Radford et al. 2021, arXiv:2103.00020; vocabulary layout of openai/CLIP clip/simple_tokenizer.py @ a1d0717 (MIT).
"""

import gzip
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from promptseg.errors import WeightsError
from promptseg.weights.convert.checkpoints import as_state_dict, load_pickle, write_tensors

if TYPE_CHECKING:
    from transformers import CLIPTextConfig

_HEAD_DIM = 64
# The published file lists more merges than CLIP was trained with: 49,408 tokens less 2 x 256 bytes and 2 marks.
_NUM_MERGES = 49152 - 256 - 2
_START, _END = "<|startoftext|>", "<|endoftext|>"


def convert_clip_tokenizer(files: Mapping[str, Path], target: Path) -> None:
    """Make a directory that transformers' CLIPTokenizer loads."""
    ((_, path),) = files.items()
    _write_tokenizer(path, target)


def convert_clip_text(files: Mapping[str, Path], target: Path) -> None:
    """Make a directory that transformers' CLIPTextModelWithProjection and CLIPTokenizer load; the image tower goes.

    Raises:
        WeightsError: The checkpoint is not a CLIP's.
    """
    checkpoint = next(path for name, path in files.items() if name.endswith(".bin"))
    vocabulary = next(path for name, path in files.items() if name.endswith(".txt.gz"))
    tensors = {
        name: tensor
        for name, tensor in as_state_dict(load_pickle(checkpoint), checkpoint.name).items()
        if name.startswith(("text_model.", "text_projection.")) and not name.endswith("position_ids")
    }
    clip_text_config(tensors).save_pretrained(target)
    write_tensors(target / "model.safetensors", tensors)
    _write_tokenizer(vocabulary, target)


def clip_text_config(tensors: Mapping[str, Tensor]) -> "CLIPTextConfig":
    """Read the configuration off the shapes of the tensors, named as on the hub.

    Raises:
        WeightsError: They are not a CLIP's.
    """
    # Here and not above: transformers takes seconds to import, and most conversions do without.
    from transformers import CLIPTextConfig

    try:
        vocab_size, hidden_size = tensors["text_model.embeddings.token_embedding.weight"].shape
        num_positions = tensors["text_model.embeddings.position_embedding.weight"].shape[0]
        intermediate_size = tensors["text_model.encoder.layers.0.mlp.fc1.weight"].shape[0]
        projection_dim = tensors["text_projection.weight"].shape[0]
    except KeyError as error:
        raise WeightsError(f"not a CLIP: {error.args[0]} is missing") from error
    layers = {int(name.split(".")[3]) for name in tensors if name.startswith("text_model.encoder.layers.")}
    return CLIPTextConfig(
        architectures=["CLIPTextModelWithProjection"],
        vocab_size=vocab_size,
        hidden_size=hidden_size,
        intermediate_size=intermediate_size,
        projection_dim=projection_dim,
        num_hidden_layers=len(layers),
        num_attention_heads=hidden_size // _HEAD_DIM,
        max_position_embeddings=num_positions,
        bos_token_id=vocab_size - 2,
        eos_token_id=vocab_size - 1,
    )


def _write_tokenizer(path: Path, target: Path) -> None:
    # The first line is the version of the file.
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
    """The visible character that stands for each byte, in the order of GPT-2's byte-level vocabulary."""
    visible = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    num_hidden = 256 - len(visible)
    return [chr(number) for number in [*visible, *range(256, 256 + num_hidden)]]
