"""Network of the default model: it embeds pixels and texts in one vector space.

It has a convolutional image tower and a frozen text tower. A pyramid fuses the image tower's maps; every cell is
compared with every text. There is no mask decoder: the similarity is the coarse mask, and presence is computed from it.

Paper: Li et al. 2022, arXiv:2201.03546 (LSeg), for pixel-text similarity.

Shapes: B images, N texts, E = config.embedding_dim, h w cells.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from promptseg.encoders.base import ImageTower, TextFeatures, TextTower
from promptseg.encoders.towers import build_image_tower, build_text_tower
from promptseg.layers.exemplar import ExemplarHead
from promptseg.layers.neck import build_neck
from promptseg.layers.pixel_text import PixelTextHead
from promptseg.models.promptseg.config import PromptSegConfig


@dataclass(frozen=True)
class PixelTextImages:
    """B images, encoded once for all queries.

    Attributes:
        pixel_embedding: Unit vectors to compare with texts, shape (B, E, h, w).
        detections: Detections of the image tower, shape (B, K, 4 + V), see `ImageTower.detect`, or None.
    """

    pixel_embedding: Tensor
    detections: Tensor | None = None


@dataclass(frozen=True)
class PixelTextMaps:
    """Output for N (image, text) pairs.

    Attributes:
        mask_logits: Shape (N, h, w).
        iou: Predicted IoU, unclamped, shape (N,).
        presence_logit: Before calibration, shape (N,).
        similarity: Pixel-text logits, shape (N, h, w).
    """

    mask_logits: Tensor
    iou: Tensor
    presence_logit: Tensor
    similarity: Tensor


class PromptSegNetwork(nn.Module):
    """Compare the pixels of images with texts.

    All weights are random, except those of towers passed as arguments.

    Args:
        config: Architecture.
        image_tower: A tower of the config's kind, possibly pretrained; None: a random one.
        text_tower: A tower of the config's kind, possibly pretrained; None: a random one.

    Raises:
        UnknownModelError: The config names a tower that does not exist.
        ValueError: The config does not describe a valid network.
    """

    def __init__(
        self, config: PromptSegConfig, image_tower: ImageTower | None = None, text_tower: TextTower | None = None
    ) -> None:
        super().__init__()
        self.config = config
        self.image_tower = image_tower or build_image_tower(config.image_tower, config.image_layers)
        self.text_tower = text_tower or build_text_tower(config.text_tower)
        self.text_tower.requires_grad_(False)
        self.image_tower.requires_grad_(config.train_towers == "image")
        self.neck = build_neck(
            self.image_tower.channels,
            self.image_tower.strides,
            dim=config.dim,
            fine_dim=config.fine_dim,
            fine_stride=config.fine_stride,
        )
        self.dense = PixelTextHead(
            pixel_dim=config.dim if config.fine_stride is None else config.fine_dim,
            text_dim=self.text_tower.dim,
            embedding_dim=config.embedding_dim,
            hidden_dim=config.hidden_dim,
            peak_margin=config.peak_margin,
        )
        self.exemplar = ExemplarHead(config.embedding_dim, config.exemplar_dim)
        self.train(self.training)

    def train(self, mode: bool = True) -> "PromptSegNetwork":
        """Set the training mode; frozen towers stay in evaluation mode."""
        super().train(mode)
        # a frozen tower learns nothing, and dropout in it would only add noise
        if self.config.train_towers == "none":
            self.image_tower.eval()
        self.text_tower.eval()
        return self

    @property
    def device(self) -> torch.device:
        """Device of the parameters."""
        return self.dense.log_scale.device

    def trained_names(self) -> set[str]:
        """Name the weights that a checkpoint stores: all of the state except the towers with published weights."""
        frozen = ("text_tower.",) if self.config.train_towers == "image" else ("text_tower.", "image_tower.")
        return {name for name in self.state_dict() if not name.startswith(frozen)}

    # Images: the tower, then the trained layers on top. Training may cache the output of a frozen tower.

    def encode_images(self, pixels: Tensor) -> PixelTextImages:
        """Encode normalized pixels, shape (B, 3, H, W); H and W are multiples of the tower's `multiple`."""
        maps, detections = self.image_tower.detect(pixels)
        return replace(self.fuse_maps(maps), detections=detections)

    def fuse_maps(self, maps: Sequence[Tensor]) -> PixelTextImages:
        """Embed the cells of images from the image tower's maps, each of shape (B, C_i, h_i, w_i)."""
        neck = self.neck(maps)
        return PixelTextImages(self.dense.embed_pixels(neck.fused if neck.fine is None else neck.fine))

    # Texts: the same two stages.

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """Embed N texts as unit vectors, shape (N, E)."""
        return self.project_texts(self.text_tower.read(texts))

    def project_texts(self, features: TextFeatures) -> Tensor:
        """Embed the output of the text tower as unit vectors, shape (N, E)."""
        return self.dense.embed_texts(features.pooled)

    # Exemplars: their vectors replace those of texts.

    def embed_exemplar(self, pixel_embedding: Tensor, coverage: Tensor) -> Tensor:
        """Embed an exemplar as a vector, shape (E,).

        Args:
            pixel_embedding: Embedding of the exemplar's image, shape (E, h, w).
            coverage: Share of each cell that the exemplar covers, shape (h, w).
        """
        vector: Tensor = self.exemplar(pixel_embedding, coverage)
        return vector

    def decode(self, images: PixelTextImages, texts: Tensor, image_index: Tensor) -> PixelTextMaps:
        """Compare images with texts.

        Args:
            images: B images.
            texts: Unit vectors of N texts, shape (N, E).
            image_index: Index of the image that each text is compared with, from 0 to B - 1, shape (N,), int64.
        """
        similarities, places = [], []
        for index, pixels in enumerate(images.pixel_embedding):
            rows = (image_index == index).nonzero()[:, 0]
            similarities.append(self.dense.similarity(pixels, texts[rows]))
            places.append(rows)
        return self.maps_of(torch.cat(similarities)[torch.cat(places).argsort()])

    def maps_of(self, similarity: Tensor) -> PixelTextMaps:
        """Compute masks, presence and predicted IoU from the similarity, shape (N, h, w)."""
        presence_logit, iou = self.dense.presence(similarity)
        return PixelTextMaps(self.dense.mask_logits(similarity), iou, presence_logit, similarity)
