"""Features of a frozen image tower on disk, so that an image goes through the tower once and not once an epoch.

One safetensors file for each (image, mirrored or not), float16, named by the hash of the image's bytes, under a
directory named by the tower's weights and the input size: another tower or size is another directory. Files appear
whole, so several processes may fill one cache.
"""

import hashlib
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from promptseg.encoders.base import ImageTower
from promptseg.encoders.pixels import Normalizes
from promptseg.errors import DataError, OutputError, RecipeError
from promptseg.images import read_image
from promptseg.ops.atomic import atomic_file
from promptseg.train.state import fingerprint
from promptseg.train.views import View, view_image

logger = logging.getLogger(__name__)

_BATCH = 8  # images that go through the tower together


@dataclass(frozen=True)
class ImageView:
    """A whole image, mirrored or not."""

    image: Path | bytes
    mirrored: bool


class FeatureCache:
    """The features of one tower at one input size.

    Args:
        root: Holds one directory for each tower and size.
        tower: Frozen; its weights name the directory.
        size_hw: What images are resized to, pixels.
        limit_bytes: What the directory may take; None: whatever it needs. There is no eviction: an epoch visits every
            view, so that a cache that holds less than all would give nothing.
    """

    def __init__(
        self, root: Path, tower: ImageTower, size_hw: tuple[int, int], *, limit_bytes: int | None = None
    ) -> None:
        if any(parameter.requires_grad for parameter in tower.parameters()):
            raise RecipeError("features of a tower that is trained, or has adapters, can't be cached: they change")
        height, width = size_hw
        self.directory = root / f"{fingerprint(tower.state_dict())[:16]}-{height}x{width}"
        self.size_hw, self.limit_bytes = size_hw, limit_bytes
        self._keys: dict[Path | bytes, str] = {}

    def load(self, view: ImageView) -> tuple[Tensor, ...]:
        """Read the maps of a view, each of shape (C_i, h_i, w_i), float16.

        Raises:
            DataError: The view is not in the cache, or its file is damaged.
        """
        path = self._path(view)
        try:
            maps = load_file(path)
        except FileNotFoundError as error:
            raise DataError(f"{path} is missing from the feature cache; fill it first") from error
        except (OSError, SafetensorError) as error:
            raise DataError(f"{path} of the feature cache is damaged: delete it and fill the cache again") from error
        return tuple(maps[str(level)] for level in range(len(maps)))

    @torch.no_grad()
    def fill(self, tower: ImageTower, views: Iterable[ImageView]) -> int:
        """Compute the views that are not there yet.

        Args:
            tower: The one the cache was made for, on the device to compute on.
            views: All that will be asked for.

        Returns:
            How many were computed.

        Raises:
            OutputError: They would take more than `limit_bytes`, or can't be written.
            ImageError: An image can't be read.
        """
        missing = [view for view in dict.fromkeys(views) if not self._path(view).exists()]
        tower.eval()
        device = next(tower.parameters()).device
        for start in range(0, len(missing), _BATCH):
            batch = missing[start : start + _BATCH]
            images = [view_image(read_image(v.image), View(mirrored=v.mirrored), self.size_hw) for v in batch]
            pixels = normalize(torch.from_numpy(np.stack(images)).to(device), tower)
            levels = [level.half().cpu() for level in tower(pixels)]
            if start == 0:
                self._check_limit(len(missing), sum(level[0].nbytes for level in levels))
            for row, view in enumerate(batch):
                with atomic_file(self._path(view)) as partial:
                    save_file({str(i): level[row].contiguous() for i, level in enumerate(levels)}, partial)
            logger.info("feature cache: %d of %d views", start + len(batch), len(missing))
        return len(missing)

    def _check_limit(self, num_views: int, bytes_per_view: int) -> None:
        if self.limit_bytes is None:
            return
        there = sum(path.stat().st_size for path in self.directory.rglob("*.safetensors"))
        needed = there + num_views * bytes_per_view
        if needed > self.limit_bytes:
            raise OutputError(
                f"the feature cache would take {needed / 1e9:.3g} GB ({num_views} more views of "
                f"{bytes_per_view / 1e6:.3g} MB), more than its limit of {self.limit_bytes / 1e9:.3g} GB; "
                "raise --cache-gb or leave out --cache"
            )

    def _path(self, view: ImageView) -> Path:
        if view.image not in self._keys:
            encoded = view.image if isinstance(view.image, bytes) else view.image.read_bytes()
            self._keys[view.image] = hashlib.sha256(encoded).hexdigest()[:32]
        key = self._keys[view.image]
        return self.directory / key[:2] / f"{key}{'-mirrored' if view.mirrored else ''}.safetensors"


def normalize(images_rgb: Tensor, statistics: Normalizes) -> Tensor:
    """Turn pixels into what a tower takes, where they are, as `encoders.pixels.to_pixels` does for one image.

    Args:
        images_rgb: Shape (B, H, W, 3), uint8.
        statistics: Its mean and std are applied; a tower has its own.

    Returns:
        Shape (B, 3, H, W), float32.
    """
    pixels = images_rgb.permute(0, 3, 1, 2).float().div_(255.0)
    mean, std = (pixels.new_tensor(values)[:, None, None] for values in (statistics.mean, statistics.std))
    return (pixels - mean) / std
