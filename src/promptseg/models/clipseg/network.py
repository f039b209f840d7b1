"""Network of CLIPSeg: a frozen CLIP and a small decoder, conditioned on a text, an image or a mixture of them.

Paper: Lüddecke and Ecker 2022, arXiv:2112.10003; code: github.com/timojl/clipseg @ 77c4e2d (MIT).
Differs: the image is encoded once for all queries, and only up to the last block that the decoder reads.

Shapes: B images, N queries, T = 1 + h * w tokens, C channels of the tower, E channels of an embedding.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from promptseg.encoders.base import AttentionMask, ImageTower, TextTower, TokenTower
from promptseg.encoders.pixels import Normalizes
from promptseg.encoders.towers import build_image_tower, build_text_tower
from promptseg.models.clipseg.config import ClipSegConfig
from promptseg.models.clipseg.decoder import ClipSegDecoder
from promptseg.models.clipseg.input_pixels import input_side, pixel_statistics


class ClipSeg(nn.Module):
    """Segment images by texts, by other images, and by mixtures of both.

    All weights are random, except those of towers passed as arguments.

    Args:
        config: Architecture and thresholds.
        image_tower: A tower of the config's kind, possibly pretrained; None: a random one.
        text_tower: A tower of the config's kind, possibly pretrained; None: a random one.

    Raises:
        UnknownModelError: The config names a tower that does not exist.
        ValueError: The config names an image tower that is not a transformer with a class token.
    """

    def __init__(
        self, config: ClipSegConfig, image_tower: ImageTower | None = None, text_tower: TextTower | None = None
    ) -> None:
        super().__init__()
        self.config = config
        tower = image_tower or build_image_tower(config.image_tower, config.image_layers)
        if not isinstance(tower, TokenTower):
            raise ValueError(f"{config.image_tower} has no class token: CLIPSeg needs a transformer with a class token")
        self.image_tower = tower.requires_grad_(False)
        self.text_tower = (text_tower or build_text_tower(config.text_tower)).requires_grad_(False)
        self.decoder = ClipSegDecoder(
            token_dim=tower.channels[0],
            condition_dim=self.text_tower.dim,
            num_states=len(tower.layers),
            patch=tower.multiple,
            dim=config.dim,
            block=config.block,
            num_heads=config.num_heads,
            mlp_dim=config.mlp_dim,
            dropout=config.dropout,
            film_block=config.film_block,
            head=config.head,
        )
        # A tower trained without text embeds images in a separate space. As in the published ViTSeg, a fixed random
        # matrix maps them to the dimension of text embeddings; the decoder must learn to use both spaces.
        self.foreign_projection: nn.Linear | None = None
        if tower.embedding_dim != self.text_tower.dim:
            self.foreign_projection = nn.Linear(tower.embedding_dim, self.text_tower.dim).requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> "ClipSeg":
        """Set the training mode; the frozen towers stay in evaluation mode."""
        super().train(mode)
        # a frozen tower learns nothing, and dropout in it would only add noise
        self.image_tower.eval()
        self.text_tower.eval()
        return self

    @property
    def device(self) -> torch.device:
        """Device of the parameters."""
        return self.decoder.film_mul.weight.device

    @property
    def side(self) -> int:
        """Side of the towers' square input, pixels."""
        return input_side(self.config)

    @property
    def pixel_statistics(self) -> Normalizes:
        """Mean and deviation that normalize the pixels."""
        return pixel_statistics(self.config)

    def trained_names(self) -> set[str]:
        """Name the weights that a checkpoint stores: all of the state except the towers with published weights."""
        published = ("text_tower.", "image_tower.") if self.config.published_towers else ()
        return {name for name in self.state_dict() if not name.startswith(published)}

    def forward(self, pixels: Tensor, condition: Tensor) -> Tensor:
        """Segment B images, each with one conditional vector.

        Args:
            pixels: Normalized by `pixel_statistics`, shape (B, 3, H, W); H and W are multiples of the patch.
            condition: Results of `embed_texts` or `embed_images`, or mixtures of them, shape (B, E).

        Returns:
            Logits, shape (B, H, W).
        """
        size_hw = (pixels.shape[2], pixels.shape[3])
        grid_hw = (size_hw[0] // self.image_tower.multiple, size_hw[1] // self.image_tower.multiple)
        logits = self.decode(self.encode_tokens(pixels), condition, grid_hw)
        if logits.shape[1:] == size_hw:
            return logits
        return F.interpolate(logits[:, None], size_hw, mode="bilinear", align_corners=False)[:, 0]

    def encode_tokens(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """Compute the states of the frozen tower that the decoder reads, shallowest first, each of shape (B, T, C)."""
        with torch.no_grad():
            return self.image_tower.encode_tokens(pixels)

    def decode(self, states: Sequence[Tensor], condition: Tensor, grid_hw: tuple[int, int]) -> Tensor:
        """Compute logits at the decoder's resolution, shape (N, h', w'); see `ClipSegDecoder.forward`."""
        logits: Tensor = self.decoder(states, condition, grid_hw)
        return logits

    @torch.no_grad()
    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        """Embed N texts, shape (N, E), without normalizing the vectors' length, as in the decoder's training."""
        return self.text_tower.read(texts).embedding

    @torch.no_grad()
    def embed_images(self, pixels: Tensor, attention_mask: AttentionMask | None = None) -> Tensor:
        """Embed normalized pixels, shape (B, 3, H, W), as vectors comparable with those of texts, shape (B, E)."""
        embedding = self.image_tower.embed_images(pixels, attention_mask)
        return embedding if self.foreign_projection is None else self.foreign_projection(embedding)
