"""Training crops with the features of frozen towers, kept in memory, so that the towers run once and not each step.

Shapes: B crops, E embedding, C_i channels and h_i w_i cells of the image tower's map i, s cells along each side.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
from torch import Tensor

from promptseg.models.promptseg.network import PromptSegNetwork
from promptseg.train.batch import move_tensors, normalize_images
from promptseg.train.pixel_text.batches import PixelTextBatch, PixelTextItem, PixelTextSource


@dataclass(frozen=True, eq=False)
class EncodedCrop:
    """A crop and its features.

    Attributes:
        item: Names and masks of the crop, without its pixels.
        maps: The image tower's maps, each (C_i, h_i, w_i), half precision.
        embedding: Pixel embedding of the model that encoded the crop, shape (E, s, s), half precision.
    """

    item: PixelTextItem
    maps: tuple[Tensor, ...]
    embedding: Tensor


@dataclass(frozen=True)
class EncodedCropBatch:
    """B crops and their features.

    Attributes:
        labels: Names and masks of the crops, without their pixels.
        maps: The image tower's maps, each (B, C_i, h_i, w_i), half precision.
        embedding: Pixel embedding of the model that encoded the crops, shape (B, E, s, s), half precision.
    """

    labels: PixelTextBatch
    maps: tuple[Tensor, ...]
    embedding: Tensor

    @property
    def sample_ids(self) -> Sequence[str]:
        """Return the names of the images."""
        return self.labels.sample_ids

    def to(self, device: torch.device) -> Self:
        """Return the same batch with its tensors on another device."""
        return move_tensors(self, device)


@dataclass(frozen=True)
class EncodedCropSource:
    """Encoded crops, each once in an epoch; a `TrainSource`.

    Attributes:
        crops: From `encode_crops`.
        source: The source that drew them; it joins their names.
    """

    crops: Sequence[EncodedCrop]
    source: PixelTextSource

    def __len__(self) -> int:
        return len(self.crops)

    def item(self, index: int, rng: np.random.Generator) -> EncodedCrop:
        """Return a crop; there is no random choice left."""
        return self.crops[index]

    def collate(self, items: list[EncodedCrop]) -> EncodedCropBatch:
        """Join crops into a batch."""
        levels = zip(*(crop.maps for crop in items), strict=True)
        return EncodedCropBatch(
            labels=self.source.collate([crop.item for crop in items]),
            maps=tuple(torch.stack(level) for level in levels),
            embedding=torch.stack([crop.embedding for crop in items]),
        )


@torch.no_grad()
def encode_crops(model: PromptSegNetwork, source: PixelTextSource, *, batch_size: int, seed: int) -> EncodedCropSource:
    """Draw every item of a source once and encode it.

    Args:
        model: A model with a pixel-text head, in eval mode.
        source: Draws the crops.
        batch_size: Crops in one forward pass of the tower.
        seed: Seed of the crops.

    Raises:
        ImageError: An image can't be read.
    """
    crops = []
    for start in range(0, len(source), batch_size):
        indices = range(start, min(start + batch_size, len(source)))
        items = [source.item(index, np.random.default_rng([seed, index])) for index in indices]
        images_rgb = torch.from_numpy(np.stack([item.image_rgb for item in items])).to(model.device)
        maps = model.image_tower(normalize_images(images_rgb, model.image_tower))
        embedding = model.fuse_maps(maps).pixel_embedding
        assert embedding is not None  # the model has a pixel-text head
        for row, item in enumerate(items):
            features = tuple(level[row].half().cpu() for level in maps)
            without_pixels = replace(item, image_rgb=item.image_rgb[:0, :0])
            crops.append(EncodedCrop(without_pixels, features, embedding[row].half().cpu()))
    return EncodedCropSource(crops, source)
