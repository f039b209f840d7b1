"""What all batches have in common: they move to a device as a whole, and their images are normalized there."""

from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from promptseg.encoders.pixels import Normalizes

BatchT = TypeVar("BatchT")


def move_tensors(batch: BatchT, device: torch.device) -> BatchT:
    """Return a batch with its tensors on another device.

    Args:
        batch: A dataclass; tensors in its fields are moved, also those in tuples and in dataclasses of a field.
        device: Where to.
    """
    assert is_dataclass(batch) and not isinstance(batch, type)
    return replace(batch, **{field.name: _move(getattr(batch, field.name), device) for field in fields(batch)})


def normalize_images(images_rgb: Tensor, statistics: Normalizes) -> Tensor:
    """Normalize a batch of images on its device, with the result of `encoders.pixels.to_pixels` for each.

    Batches carry bytes, a quarter of what floats would take between processes and devices.

    Args:
        images_rgb: Shape (B, H, W, 3), uint8.
        statistics: Its mean and std are applied; every image tower has its own.

    Returns:
        Shape (B, 3, H, W), float32.
    """
    pixels = images_rgb.permute(0, 3, 1, 2).float().div_(255.0)
    mean, std = (pixels.new_tensor(values)[:, None, None] for values in (statistics.mean, statistics.std))
    return (pixels - mean) / std


def _move(value: Any, device: torch.device) -> Any:
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, tuple):
        return tuple(_move(one, device) for one in value)
    if is_dataclass(value) and not isinstance(value, type):
        return move_tensors(value, device)
    return value
