"""Network of the published PromptSeg: a frozen image tower, a frozen text tower, a neck and a SAM-style decoder.

The design is that of halim-cv/PromptSeg-Lightweight (MIT), with the extensions that its authors list as missing: other
towers, token-level text, adapters, finer maps. Paper of the decoder: Kirillov et al. 2023, arXiv:2304.02643.

Shapes: B images, N texts, T tokens, D = config.dim.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from promptseg.encoders.base import ImageTower, TextFeatures, TextTower
from promptseg.encoders.towers import build_image_tower, build_text_tower
from promptseg.layers.mask_decoder import DecodedQueries, MaskDecoder
from promptseg.layers.neck import FUSED_STRIDE, NeckMaps, PyramidNeck, build_neck
from promptseg.models.promptseg_s1.config import LoraConfig, PromptSegS1Config

ADAPTER_MARK = "lora_"  # peft gives its parameters this prefix


@dataclass(frozen=True)
class TextPrompts:
    """N texts, encoded once for all images.

    Attributes:
        tokens: Prompt tokens for the decoder, shape (N, T, D); T is 1 with pooled text.
        token_mask: True for real tokens, False for padding, bool, shape (N, T).
    """

    tokens: Tensor
    token_mask: Tensor


class PromptSegS1Network(nn.Module):
    """Segment images by texts.

    All weights are random, except those of towers passed as arguments.

    Args:
        config: Architecture and thresholds.
        image_tower: A tower of the config's kind, possibly pretrained; None: a random one.
        text_tower: A tower of the config's kind, possibly pretrained; None: a random one.

    Raises:
        UnknownModelError: The config names a tower that does not exist.
        ValueError: The config does not describe a valid network.
    """

    def __init__(
        self, config: PromptSegS1Config, image_tower: ImageTower | None = None, text_tower: TextTower | None = None
    ) -> None:
        super().__init__()
        self.config = config
        self.image_tower = image_tower or build_image_tower(config.image_tower, config.image_layers)
        self.text_tower = text_tower or build_text_tower(config.text_tower)
        self.text_tower.requires_grad_(False)
        self.image_tower.requires_grad_(config.train_towers == "image")
        if config.lora is not None:
            _add_adapters(self.image_tower, config.lora, config.lora.image_layers)
            _add_adapters(self.text_tower, config.lora, config.lora.text_layers)
        self.neck = build_neck(
            self.image_tower.channels,
            self.image_tower.strides,
            dim=config.dim,
            fine_dim=config.fine_dim,
            fine_stride=config.fine_stride,
        )
        fused_stride = FUSED_STRIDE if isinstance(self.neck, PyramidNeck) else self.image_tower.strides[0]
        self.text_projection = nn.Linear(self.text_tower.dim, config.dim)
        self.token_projection: nn.Linear | None = None
        if config.text_mode == "tokens":
            self.token_projection = nn.Linear(self.text_tower.token_dim, config.dim)
        self.decoder = MaskDecoder(
            config.dim,
            num_heads=config.num_heads,
            mlp_dim=config.mlp_dim,
            depth=config.decoder_depth,
            skip_dim=None if config.fine_stride is None else config.fine_dim,
            skip_scale=4 if config.fine_stride is None else fused_stride // config.fine_stride,
        )
        self.train(self.training)

    def train(self, mode: bool = True) -> "PromptSegS1Network":
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
        return self.text_projection.weight.device

    def trained_names(self) -> set[str]:
        """Name the weights that a checkpoint stores: all of the state except the towers with published weights."""
        frozen = ("text_tower.",) if self.config.train_towers == "image" else ("text_tower.", "image_tower.")
        return {name for name in self.state_dict() if ADAPTER_MARK in name or not name.startswith(frozen)}

    def encode_images(self, pixels: Tensor) -> NeckMaps:
        """Encode normalized pixels, shape (B, 3, H, W); H and W are multiples of the tower's `multiple`."""
        return self.fuse_maps(self.image_tower(pixels))

    def fuse_maps(self, maps: Sequence[Tensor]) -> NeckMaps:
        """Fuse the image tower's maps, each of shape (B, C_i, h_i, w_i)."""
        fused: NeckMaps = self.neck(maps)
        return fused

    def encode_texts(self, texts: Sequence[str]) -> TextPrompts:
        """Encode N texts."""
        return self.project_texts(self.text_tower.read(texts))

    def project_texts(self, features: TextFeatures) -> TextPrompts:
        """Compute the decoder's prompt tokens from the output of the text tower."""
        # A unit vector has components of about 1 / sqrt(C); a linear layer expects components of about 1.
        tokens = self.text_projection(features.pooled * self.text_tower.dim**0.5)[:, None]
        mask = torch.ones_like(features.token_mask[:, :1])
        if self.token_projection is not None:
            tokens = torch.cat([tokens, self.token_projection(features.tokens)], dim=1)
            mask = F.pad(features.token_mask, (1, 0), value=True)
        return TextPrompts(tokens, mask)

    def decode(self, images: NeckMaps, texts: TextPrompts, image_index: Tensor) -> DecodedQueries:
        """Segment images by texts.

        Args:
            images: B images.
            texts: N texts.
            image_index: Index of the image that each text is applied to, from 0 to B - 1, shape (N,), int64.

        Returns:
            One answer per text. Masks have four times the size of the fused map.
        """
        skip = self.decoder.upsampler.project_skip(images.fine)
        mask = texts.token_mask if self.token_projection is not None else None
        return self.decoder(images.fused[image_index], texts.tokens, mask, None if skip is None else skip[image_index])


def _add_adapters(tower: ImageTower | TextTower, config: LoraConfig, layers: Sequence[int]) -> None:
    """Add trainable low-rank adapters to chosen layers of a tower, in place."""
    if not layers:
        return
    # imported here: only models with adapters need peft, and its import takes a second
    import peft

    targets = tower.lora_targets(layers)
    adapters = peft.LoraConfig(r=config.rank, lora_alpha=config.alpha, target_modules=targets)
    peft.inject_adapter_in_model(adapters, tower)
    for name, parameter in tower.named_parameters():
        parameter.requires_grad_(ADAPTER_MARK in name)
