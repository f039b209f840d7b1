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


def load_pickle(path: Path) -> dict[str, object]:
    """Read a PyTorch checkpoint without running what it may contain.

    Raises:
        WeightsError: It holds anything but tensors and plain containers, or is no checkpoint.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        # PyTorch advises to read the file all the same, running what is in it: that is not passed on. The end of the
        # file in the middle of a value comes without a word.
        said = [line for line in str(error).splitlines() if line and "weights_only" not in line] or [
            "it ends too early"
        ]
        raise WeightsError(f"{path.name}: not a plain PyTorch checkpoint: {said[0]}") from error
    if not isinstance(content, dict):
        raise WeightsError(f"{path.name}: holds a {type(content).__name__}, not a state dict")
    return content


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file.

    Raises:
        WeightsError: It is none.
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
    # Tied tensors share memory, which safetensors refuses.
    separate = {name: tensor.detach().clone().contiguous() for name, tensor in tensors.items()}
    try:
        save_file(separate, path, metadata={"format": "pt"})
    except SafetensorError as error:
        # safetensors hides the errno in its message: "I/O error: ... (os error 28)".
        full = any(f"(os error {number})" in str(error) for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG))
        raise OSError(errno.ENOSPC if full else errno.EIO, str(error), str(path)) from error


def as_state_dict(content: Mapping[str, object], filename: str) -> dict[str, Tensor]:
    """Check that every value is a tensor.

    Raises:
        WeightsError: One is not.
    """
    tensors = {name: value for name, value in content.items() if isinstance(value, Tensor)}
    if not tensors or len(tensors) != len(content):
        raise WeightsError(f"{filename}: not a flat state dict")
    return tensors


def copy_files(files: Mapping[str, Path], target: Path) -> None:
    """Take the files as they are: they are in their final form already."""
    for name, path in files.items():
        shutil.copyfile(path, target / name if target.is_dir() else target)


def convert_state_dict(files: Mapping[str, Path], target: Path) -> None:
    """Turn one flat PyTorch state dict into safetensors with the original key names."""
    ((filename, path),) = files.items()
    write_tensors(target, as_state_dict(load_pickle(path), filename))


def convert_sam_decoder(files: Mapping[str, Path], target: Path) -> None:
    """Rename SAM's prompt encoder and mask decoder as transformers' SamModel has them.

    Raises:
        WeightsError: The checkpoint does not hold the two.
    """
    ((filename, path),) = files.items()
    content = load_pickle(path)
    tensors: dict[str, Tensor] = {}
    # "PromtEncoder" is the published spelling.
    for part, prefix in (("PromtEncoder", "prompt_encoder."), ("MaskDecoder", "mask_decoder.")):
        state = content.get(part)
        if not isinstance(state, dict):
            raise WeightsError(f"{filename}: no {part} in it")
        tensors |= {prefix + sam_decoder_name(name): tensor for name, tensor in as_state_dict(state, filename).items()}
    # One random matrix encodes the positions of clicks and of the image.
    tensors["shared_image_embedding.positional_embedding"] = tensors[
        "prompt_encoder.shared_embedding.positional_embedding"
    ]
    write_tensors(target, tensors)
