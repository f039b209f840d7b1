"""Conversions that keep or rename the tensors of a PyTorch checkpoint."""

import errno
import pickle
import shutil
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from promptseg.errors import WeightsError
from promptseg.weights.convert.sam_names import sam_decoder_name

# What PyTorch raised on some hundred damaged files.
_DAMAGED = (
    pickle.UnpicklingError,
    AttributeError,
    EOFError,
    KeyError,
    IndexError,
    MemoryError,
    OverflowError,
    RuntimeError,
    TypeError,
    ValueError,
)


def load_pickle(path: Path) -> dict[str, object]:
    """Read a PyTorch checkpoint without running code in it.

    Raises:
        WeightsError: The file is not a checkpoint, or holds other objects than tensors and plain containers.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except _DAMAGED as error:
        # PyTorch advises to load the file with code execution: such lines are dropped. An unexpected end of the file
        # gives an empty message.
        lines = [line for line in str(error).splitlines() if line and "weights_only" not in line]
        reason = lines[0] if lines else "it ends too early"
        raise WeightsError(f"{path.name}: not a plain PyTorch checkpoint: {reason}") from error
    if not isinstance(content, dict):
        raise WeightsError(f"{path.name}: holds a {type(content).__name__}, not a state dict")
    return content


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file.

    Raises:
        WeightsError: It is not a safetensors file.
    """
    try:
        return load_file(path)
    except SafetensorError as error:
        raise WeightsError(f"{path.name}: not a safetensors file: {error}") from error


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write a safetensors file that transformers accepts.

    Raises:
        OSError: The disk is full or can't be written.
    """
    # copies, because tied tensors share memory, which safetensors refuses
    separate = {name: tensor.detach().clone().contiguous() for name, tensor in tensors.items()}
    try:
        save_file(separate, path, metadata={"format": "pt"})
    except SafetensorError as error:
        # the errno of safetensors is in its message only: "I/O error: ... (os error 28)"
        full = any(f"(os error {number})" in str(error) for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG))
        raise OSError(errno.ENOSPC if full else errno.EIO, str(error), str(path)) from error


def as_state_dict(content: Mapping[str, object], filename: str) -> dict[str, Tensor]:
    """Check that every value is a tensor.

    Raises:
        WeightsError: A value is not a tensor, or there are no values.
    """
    tensors = {name: value for name, value in content.items() if isinstance(value, Tensor)}
    if not tensors or len(tensors) != len(content):
        raise WeightsError(f"{filename}: not a flat state dict")
    return tensors


def copy_files(files: Mapping[str, Path], target: Path) -> None:
    """Copy files that need no conversion."""
    for name, path in files.items():
        shutil.copyfile(path, target / name if target.is_dir() else target)


def convert_state_dict(files: Mapping[str, Path], target: Path) -> None:
    """Convert one flat PyTorch state dict to safetensors, with the original names.

    Raises:
        WeightsError: The file is not a flat state dict.
    """
    ((filename, path),) = files.items()
    write_tensors(target, as_state_dict(load_pickle(path), filename))


def convert_sam_decoder(files: Mapping[str, Path], target: Path) -> None:
    """Rename the tensors of SAM's prompt encoder and mask decoder to the names of transformers' SamModel.

    Raises:
        WeightsError: The checkpoint lacks one of the two.
    """
    ((filename, path),) = files.items()
    content = load_pickle(path)
    tensors: dict[str, Tensor] = {}
    # "PromtEncoder" is the published spelling
    for part, prefix in (("PromtEncoder", "prompt_encoder."), ("MaskDecoder", "mask_decoder.")):
        state = content.get(part)
        if not isinstance(state, dict):
            raise WeightsError(f"{filename}: it has no {part}")
        tensors |= {prefix + sam_decoder_name(name): tensor for name, tensor in as_state_dict(state, filename).items()}
    # the same random matrix encodes the positions of clicks and of image cells
    tensors["shared_image_embedding.positional_embedding"] = tensors[
        "prompt_encoder.shared_embedding.positional_embedding"
    ]
    write_tensors(target, tensors)
