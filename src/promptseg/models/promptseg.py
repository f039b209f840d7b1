"""PromptSeg: a frozen image tower and a frozen text tower, joined by a trained neck and a SAM-style decoder.

The design is halim-cv/PromptSeg-Lightweight's (MIT), with what its authors list as missing: other towers, token-level
text, adapters, finer maps; and with a head that compares each pixel with the text and hands the decoder a first guess.
Paper of the decoder: Kirillov et al. 2023, arXiv:2304.02643.

Shapes: B pictures, N texts, T tokens, D = config.dim, E = config.dense.embedding_dim, V names of the vocabulary.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from promptseg.encoders.base import ImageTower, TextFeatures, TextTower
from promptseg.encoders.towers import build_image_tower, build_text_tower
from promptseg.layers.dense_text import DenseTextHead, PriorEmbedding
from promptseg.layers.mask_decoder import MaskDecoder
from promptseg.layers.neck import PyramidNeck, SingleStrideNeck
from promptseg.models.base import Features, Prediction
from promptseg.models.config import DenseConfig, LoraConfig, PromptSegConfig
from promptseg.models.pixels import fit_size, to_pixels

FUSED_STRIDE = 16
QUERY_CHUNK = 16
ADAPTER_MARK = "lora_"  # peft gives its parameters this prefix


@dataclass(frozen=True)
class EncodedImages:
    """B pictures, encoded once for all queries.

    Attributes:
        fused: What the decoder reads, shape (B, D, h, w).
        fine: A finer map, shape (B, config.fine_dim, hf, wf), or None.
        pixel_embedding: Unit vectors to compare with texts, shape (B, E, he, we), or None.
    """

    fused: Tensor
    fine: Tensor | None
    pixel_embedding: Tensor | None


@dataclass(frozen=True)
class EncodedTexts:
    """N texts, encoded once for all pictures.

    Attributes:
        prompt: Prompt tokens for the decoder, shape (N, T, D); T is 1 with pooled text. None without a decoder.
        prompt_mask: True where a token is real, shape (N, T), bool; None: everywhere.
        dense: Unit vectors to compare with pixels, shape (N, E), or None.
        competitors: True where a name of the vocabulary competes with a text, shape (N, V), bool, or None.
    """

    prompt: Tensor | None
    prompt_mask: Tensor | None
    dense: Tensor | None
    competitors: Tensor | None


@dataclass(frozen=True)
class Decoded:
    """What the model says about N (picture, text) pairs.

    Attributes:
        mask_logits: Shape (N, hm, wm).
        iou: Predicted IoU, shape (N,), not clamped.
        presence_logit: Before calibration, shape (N,).
        similarity: Pixel-text logits, shape (N, he, we), or None without the dense head.
        competition: Log-probability of the text against the vocabulary, shape (N, he, we), or None.
    """

    mask_logits: Tensor
    iou: Tensor
    presence_logit: Tensor
    similarity: Tensor | None
    competition: Tensor | None


class PromptSeg(nn.Module):
    """Segment pictures by texts.

    Built with random weights everywhere unless towers are handed in.

    Args:
        config: Architecture and operating point.
        image_tower: A tower of the config's kind, perhaps pretrained; None: a random one.
        text_tower: A tower of the config's kind, perhaps pretrained; None: a random one.
    """

    prompt_kinds = frozenset({"text"})

    def __init__(
        self, config: PromptSegConfig, image_tower: ImageTower | None = None, text_tower: TextTower | None = None
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

        self.neck = _build_neck(config, self.image_tower)
        fused_stride = FUSED_STRIDE if isinstance(self.neck, PyramidNeck) else self.image_tower.strides[0]
        self.text_projection: nn.Linear | None = None
        self.token_projection: nn.Linear | None = None
        self.decoder: MaskDecoder | None = None
        if config.decoder_depth:
            self.text_projection = nn.Linear(self.text_tower.dim, config.dim)
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
        self.dense: DenseTextHead | None = None
        self.prior: PriorEmbedding | None = None
        if config.dense is not None:
            self.dense = _build_dense(config, config.dense, self.text_tower.dim)
            self.prior = PriorEmbedding(config.dim) if config.decoder_depth else None
        self.train(self.training)

    def train(self, mode: bool = True) -> "PromptSeg":
        super().train(mode)
        # a frozen tower has nothing to learn: dropout in it would be noise
        if self.config.train_towers == "none":
            self.image_tower.eval()
        self.text_tower.eval()
        return self

    @property
    def device(self) -> torch.device:
        """Where the model's parameters are."""
        return next(self.neck.parameters()).device

    def trained_names(self) -> set[str]:
        """Name what a checkpoint has to store: all of the state but the towers that stay as they were published."""
        frozen = ("text_tower.",) if self.config.train_towers == "image" else ("text_tower.", "image_tower.")
        return {name for name in self.state_dict() if ADAPTER_MARK in name or not name.startswith(frozen)}

    # Pictures: tower, then what is trained on top of it. Training may keep what the frozen towers gave.

    def encode_images(self, pixels: Tensor) -> EncodedImages:
        """Encode normalised pixels, shape (B, 3, H, W); H and W are multiples of the tower's `multiple`."""
        return self.fuse_maps(self.image_tower(pixels))

    def fuse_maps(self, maps: Sequence[Tensor]) -> EncodedImages:
        """Encode pictures from the image tower's maps, each of shape (B, C_i, h_i, w_i)."""
        neck = self.neck(maps)
        pixel_embedding = None
        if self.dense is not None:
            pixel_embedding = self.dense.embed_pixels(neck.fused if neck.fine is None else neck.fine)
        return EncodedImages(fused=neck.fused, fine=neck.fine, pixel_embedding=pixel_embedding)

    # Texts, likewise.

    def encode_texts(self, texts: Sequence[str]) -> EncodedTexts:
        """Encode N texts."""
        return self.project_texts(self.read_texts(texts))

    def read_texts(self, texts: Sequence[str]) -> TextFeatures:
        """Give what the text tower says about N texts."""
        token_ids, token_mask = self.text_tower.tokenize(texts)
        features: TextFeatures = self.text_tower(token_ids.to(self.device), token_mask.to(self.device))
        return features

    def project_texts(self, features: TextFeatures) -> EncodedTexts:
        """Encode texts from what the text tower said about them."""
        prompt = prompt_mask = dense = competitors = None
        if self.text_projection is not None:
            # A unit vector has components of about 1 / sqrt(C); a linear layer is made for components of about 1.
            prompt = self.text_projection(features.pooled * self.text_tower.dim**0.5)[:, None]
        if self.token_projection is not None and prompt is not None:
            prompt = torch.cat([prompt, self.token_projection(features.tokens)], dim=1)
            prompt_mask = F.pad(features.token_mask, (1, 0), value=True)
        if self.dense is not None:
            dense = self.dense.embed_texts(features.pooled)
            competitors = self.dense.find_competitors(features.pooled)
        return EncodedTexts(prompt, prompt_mask, dense, competitors)

    def set_vocabulary(self) -> None:
        """Fill the bank of the names in config.dense.vocabulary from the text tower."""
        if self.dense is None or self.config.dense is None or not self.config.dense.vocabulary:
            return
        names = self.config.dense.vocabulary
        with torch.no_grad():
            rows = [self.read_texts(names[i : i + 64]).pooled for i in range(0, len(names), 64)]
            self.dense.vocabulary.copy_(torch.cat(rows))

    def decode(self, images: EncodedImages, texts: EncodedTexts, image_index: Tensor) -> Decoded:
        """Segment pictures by texts.

        Args:
            images: B pictures.
            texts: N texts.
            image_index: Which picture each text is asked of, shape (N,), int64, from 0 to B - 1.

        Returns:
            One answer for each text. Masks have four times the fused map's size; without a decoder, the pixel
            embedding's size.
        """
        similarity, competition = self._compare(images, texts, image_index)
        mask_logits = iou = presence_logit = None
        if self.dense is not None and similarity is not None and competition is not None:
            mask_logits = self.dense.mask_logits(similarity, competition)
            presence_logit, iou = self.dense.judge(similarity, competition)
        if self.decoder is not None and texts.prompt is not None:
            cells = images.fused[image_index]
            if self.prior is not None and similarity is not None and competition is not None:
                cells = cells + self.prior(similarity, competition, (cells.shape[2], cells.shape[3]))
            skip = self.decoder.upsampler.project_skip(images.fine)
            out = self.decoder(cells, texts.prompt, texts.prompt_mask, None if skip is None else skip[image_index])
            mask_logits = out.mask_logits + (0.0 if mask_logits is None else _resize(mask_logits, out.mask_logits))
            iou = out.iou + (0.0 if iou is None else iou)
            presence_logit = out.presence_logit + (0.0 if presence_logit is None else presence_logit)
        assert mask_logits is not None and iou is not None and presence_logit is not None  # the config has a head
        return Decoded(mask_logits, iou, presence_logit, similarity, competition)

    def _compare(
        self, images: EncodedImages, texts: EncodedTexts, image_index: Tensor
    ) -> tuple[Tensor | None, Tensor | None]:
        """Give the dense maps of each (picture, text) pair, each of shape (N, he, we)."""
        if self.dense is None:
            return None, None
        assert images.pixel_embedding is not None and texts.dense is not None and texts.competitors is not None
        similarities, competitions, places = [], [], []
        for picture, pixels in enumerate(images.pixel_embedding):
            # with one picture every text is asked of it: no data-dependent shape, so the graph can be exported
            rows = torch.arange(len(image_index), device=image_index.device)
            if len(images.pixel_embedding) > 1:
                rows = rows[image_index == picture]
            similarity = self.dense.similarity(pixels, texts.dense[rows])
            similarities.append(similarity)
            competitions.append(self.dense.competition(pixels, similarity, texts.competitors[rows]))
            places.append(rows)
        order = torch.cat(places).argsort()
        return torch.cat(similarities)[order], torch.cat(competitions)[order]

    # Inference: models.base.Segmenter.

    @property
    def mask_threshold(self) -> float:
        return self.config.mask_threshold

    @property
    def presence_threshold(self) -> float:
        return self.config.presence_threshold

    @torch.inference_mode()
    def encode_image(self, image_rgb: np.ndarray) -> Features:
        """Encode one picture, uint8, shape (H, W, 3), as named tensors whose first dimension is 1."""
        size_hw = fit_size(
            image_rgb.shape[:2],
            image_size=self.config.image_size,
            multiple=self.image_tower.multiple,
            resize=self.config.resize,
        )
        images = self.encode_images(to_pixels(image_rgb, size_hw, self.image_tower).to(self.device))
        named = {"fused": images.fused, "fine": images.fine, "pixel_embedding": images.pixel_embedding}
        return {name: value for name, value in named.items() if value is not None}

    @torch.inference_mode()
    def segment_texts(self, features: Features, texts: Sequence[str], size_hw: tuple[int, int]) -> Prediction:
        """Segment one encoded picture by N texts.

        Args:
            features: What `encode_image` gave.
            texts: N texts; none gives an empty prediction.
            size_hw: Original size of the picture, pixels. The maps cover the whole picture at any size.
        """
        images = EncodedImages(features["fused"], features.get("fine"), features.get("pixel_embedding"))
        parts = []
        for start in range(0, len(texts), QUERY_CHUNK):  # a decoder's memory grows with the queries at once
            chunk = texts[start : start + QUERY_CHUNK]
            index = torch.zeros(len(chunk), dtype=torch.int64, device=self.device)
            parts.append(self.decode(images, self.encode_texts(chunk), index))
        if not parts:
            empty = features["fused"].new_zeros(0)
            return Prediction(mask_logits=empty[:, None, None], presence=empty, iou=empty)
        scale, shift = self.config.presence_calibration
        return Prediction(
            mask_logits=torch.cat([part.mask_logits for part in parts]),
            presence=torch.sigmoid(scale * torch.cat([part.presence_logit for part in parts]) + shift),
            iou=torch.cat([part.iou for part in parts]).clamp(0.0, 1.0),
        )


def _build_neck(config: PromptSegConfig, tower: ImageTower) -> SingleStrideNeck | PyramidNeck:
    if len(set(tower.strides)) == 1:
        if config.fine_stride is not None:
            raise ValueError(f"{config.image_tower} has one stride, {tower.strides[0]}: set fine_stride=None")
        return SingleStrideNeck(tower.channels, dim=config.dim)
    return PyramidNeck(
        tower.channels,
        tower.strides,
        dim=config.dim,
        fused_stride=FUSED_STRIDE,
        fine_dim=config.fine_dim,
        fine_stride=config.fine_stride,
    )


def _build_dense(config: PromptSegConfig, dense: DenseConfig, text_dim: int) -> DenseTextHead:
    return DenseTextHead(
        pixel_dim=config.dim if config.fine_stride is None else config.fine_dim,
        text_dim=text_dim,
        embedding_dim=dense.embedding_dim,
        hidden_dim=dense.hidden_dim,
        num_vocabulary=len(dense.vocabulary),
        near=dense.near,
    )


def _add_adapters(tower: ImageTower | TextTower, config: LoraConfig, layers: Sequence[int]) -> None:
    """Put trainable low-rank adapters into chosen layers of a tower, in place."""
    if not layers:
        return
    # here and not above: only models with adapters need peft, and it takes a second to import
    import peft

    targets = tower.lora_targets(layers)
    adapters = peft.LoraConfig(r=config.rank, lora_alpha=config.alpha, target_modules=targets)
    peft.inject_adapter_in_model(adapters, tower)
    for name, parameter in tower.named_parameters():
        parameter.requires_grad_(ADAPTER_MARK in name)


def _resize(maps: Tensor, like: Tensor) -> Tensor:
    """Bring maps, shape (N, h, w), to the height and width of others."""
    return F.interpolate(maps[:, None], size=like.shape[-2:], mode="bilinear", align_corners=False)[:, 0]
