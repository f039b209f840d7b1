"""Checks of a request that need no model, so that a wrong request fails at once."""

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from promptseg.errors import EngineError, OutputError

if TYPE_CHECKING:
    from promptseg.stored_values import MaskValue

_GALLERY_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")

_DEVICE = re.compile(r"auto|cpu|mps|cuda(:\d+)?")


def check_device(device: str) -> None:
    """Check that a device is spelled right and, unless it is the CPU, that this machine has it.

    Raises:
        EngineError: There is no such device.
    """
    if not _DEVICE.fullmatch(device):
        raise EngineError(f"{device!r} is no device; use auto, cpu, cuda, cuda:1 or mps")
    if device not in ("auto", "cpu"):
        # Only PyTorch knows which GPUs there are, and its import takes seconds.
        from promptseg.runtime.engine import resolve_device

        resolve_device(device)


def read_mask_value(written: str | None) -> "MaskValue | None":
    """Read --mask-value; None stays None.

    Raises:
        BadParameter: It is no number, no color and not "nonzero".
    """
    from promptseg.stored_values import parse_mask_value

    try:
        return None if written is None else parse_mask_value(written)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--mask-value") from error


def check_output_folder(folder: Path | None) -> None:
    """Check that files can be written to a folder, which need not exist yet; None: nothing is to be written.

    Raises:
        OutputError: A part of the path is a file, or the folder is read-only.
    """
    if folder is None:
        return
    nearest = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    if not nearest.is_dir():
        raise OutputError(f"{folder}: can't be written: {'Not a directory' if nearest != folder else 'It is a file'}")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise OutputError(f"{folder}: can't be written: {nearest} is read-only")


def check_output_file(path: Path | None) -> None:
    """Check that a file can be written, with the folders that it needs; None: nothing is to be written.

    Raises:
        OutputError: The path is a folder, a part of it is a file, or its folder is read-only.
    """
    if path is None:
        return
    if path.is_dir():
        raise OutputError(f"{path}: can't be written: it is a folder; give a file name")
    check_output_folder(path.absolute().parent)


def check_gallery(path: Path | None) -> None:
    """Check that a drawing can be written to a file of this name; None: none is to be written.

    Raises:
        OutputError: The suffix is of no kind of image that is written, or the file can't be written.
    """
    if path is not None and path.suffix.lower() not in _GALLERY_SUFFIXES:
        raise OutputError(f"{path}: can't be written: use one of the suffixes {', '.join(_GALLERY_SUFFIXES)}")
    check_output_file(path)
