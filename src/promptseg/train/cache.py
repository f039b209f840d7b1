"""Features of a frozen image tower on disk: an image goes through the tower once and not once an epoch.

Each (image, flipped or not) has one safetensors file, float16, named by the hash of the image's bytes. Its directory is
named by the tower's weights and the input size, so that another tower or size has another directory. Files appear
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
from promptseg.errors import DataError, OutputError, RecipeError
from promptseg.images import read_image
from promptseg.ops.atomic import atomic_file
from promptseg.train.augment import View, view_image
from promptseg.train.batch import normalize_images
from promptseg.train.state import fingerprint

logger = logging.getLogger(__name__)

_BATCH = 8  # images in one forward pass of the tower


@dataclass(frozen=True)
class ImageView:
    """A whole image, flipped horizontally or not."""

    image: Path | bytes
    flipped: bool


class FeatureCache:
    """The features of one tower at one input size.

    Args:
        root: Holds one directory for each tower and size.
        tower: The tower, frozen; its weights name the directory.
        size_hw: Size that images are resized to, pixels.
        limit_bytes: Most that the directory may take; None: no limit. Nothing is evicted: an epoch visits every view,
            so a cache that does not hold all of them would save nothing.

    Raises:
        RecipeError: A parameter of the tower is trained.
    """

    def __init__(
        self, root: Path, tower: ImageTower, size_hw: tuple[int, int], *, limit_bytes: int | None = None
    ) -> None:
        if any(parameter.requires_grad for parameter in tower.parameters()):
            raise RecipeError(
                "features of a tower that is trained or has adapters can't be cached, because they change"
            )
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
        """Compute the views that are not cached yet.

        Args:
            tower: The tower that the cache was made for, on the device to compute on.
            views: All views that will be loaded.

        Returns:
            Number of views that were computed.

        Raises:
            OutputError: The files would take more than `limit_bytes`, or can't be written.
            ImageError: An image can't be read.
        """
        missing = [view for view in dict.fromkeys(views) if not self._path(view).exists()]
        tower.eval()
        device = next(tower.parameters()).device
        for start in range(0, len(missing), _BATCH):
            batch = missing[start : start + _BATCH]
            images = [view_image(read_image(v.image), View(flipped=v.flipped), self.size_hw) for v in batch]
            pixels = normalize_images(torch.from_numpy(np.stack(images)).to(device), tower)
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
        stored = sum(path.stat().st_size for path in self.directory.rglob("*.safetensors"))
        needed = stored + num_views * bytes_per_view
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
        return self.directory / key[:2] / f"{key}{'-flipped' if view.flipped else ''}.safetensors"
