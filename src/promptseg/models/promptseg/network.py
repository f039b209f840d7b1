"""PromptSeg: a frozen image tower and a frozen text tower, joined by a trained neck and a SAM-style decoder.

The design is halim-cv/PromptSeg-Lightweight's (MIT), with what its authors list as missing: other towers, token-level
text, adapters, finer maps; and with a head that compares each pixel with the text and hands the decoder a first guess.
Paper of the decoder: Kirillov et al. 2023, arXiv:2304.02643.

Shapes: B images, N texts, T tokens, D = config.dim, E = config.dense.embedding_dim.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from promptseg.encoders.base import ImageTower, TextFeatures, TextTower
from promptseg.encoders.towers import build_image_tower, build_text_tower
from promptseg.layers.dense_text import DenseTextHead, PriorEmbedding
from promptseg.layers.exemplar import ExemplarHead
from promptseg.layers.mask_decoder import MaskDecoder
from promptseg.layers.neck import PyramidNeck, SingleStrideNeck
from promptseg.models.promptseg.config import DenseConfig, LoraConfig, PromptSegConfig
from promptseg.models.promptseg.text_segmenter import Decoded, EncodedImages, EncodedTexts, TextSegmenter

FUSED_STRIDE = 16
ADAPTER_MARK = "lora_"  # peft gives its parameters this prefix


class PromptSeg(nn.Module, TextSegmenter):
    """Segment images by texts.

    Built with random weights everywhere unless towers are handed in.

    Args:
        config: Architecture and operating point.
        image_tower: A tower of the config's kind, perhaps pretrained; None: a random one.
        text_tower: A tower of the config's kind, perhaps pretrained; None: a random one.
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
        self.exemplar: ExemplarHead | None = None
        if config.dense is not None and config.dense.exemplar_dim is not None:
            self.exemplar = ExemplarHead(config.dense.embedding_dim, config.dense.exemplar_dim)
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

    # Images: tower, then what is trained on top of it. Training may keep what the frozen towers gave.

    def encode_images(self, pixels: Tensor) -> EncodedImages:
        """Encode normalized pixels, shape (B, 3, H, W); H and W are multiples of the tower's `multiple`."""
        maps, detections = self.image_tower.detect(pixels)
        return replace(self.fuse_maps(maps), detections=detections)

    def fuse_maps(self, maps: Sequence[Tensor]) -> EncodedImages:
        """Encode images from the image tower's maps, each of shape (B, C_i, h_i, w_i)."""
        neck = self.neck(maps)
        pixel_embedding = None
        if self.dense is not None:
            pixel_embedding = self.dense.embed_pixels(neck.fused if neck.fine is None else neck.fine)
        if self.decoder is None:
            return EncodedImages(None, None, pixel_embedding)
        return EncodedImages(neck.fused, neck.fine, pixel_embedding)

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
        prompt = prompt_mask = dense = None
        if self.text_projection is not None:
            # A unit vector has components of about 1 / sqrt(C); a linear layer is made for components of about 1.
            prompt = self.text_projection(features.pooled * self.text_tower.dim**0.5)[:, None]
        if self.token_projection is not None and prompt is not None:
            prompt = torch.cat([prompt, self.token_projection(features.tokens)], dim=1)
            prompt_mask = F.pad(features.token_mask, (1, 0), value=True)
        if self.dense is not None:
            dense = self.dense.embed_texts(features.pooled)
        return EncodedTexts(prompt, prompt_mask, dense)

    # Examples take a text's place.

    def embed_exemplar(self, pixel_embedding: Tensor, coverage: Tensor) -> Tensor:
        """Embed the example that covers shares (h, w) of the cells of an image, shape (E, h, w), as shape (E,)."""
        assert self.exemplar is not None  # `prompt_kinds` says whether it is there
        vector: Tensor = self.exemplar(pixel_embedding, coverage)
        return vector

    def decode(self, images: EncodedImages, texts: EncodedTexts, image_index: Tensor) -> Decoded:
        """Segment images by texts.

        Args:
            images: B images.
            texts: N texts.
            image_index: Which image each text is asked of, shape (N,), int64, from 0 to B - 1.

        Returns:
            One answer for each text. Masks have four times the fused map's size; without a decoder, the pixel
            embedding's size.
        """
        similarity = mask_logits = iou = presence_logit = None
        if self.dense is not None:
            similarity = self._compare(self.dense, images, texts, image_index)
            mask_logits = self.dense.mask_logits(similarity)
            presence_logit, iou = self.dense.judge(similarity)
        if self.decoder is not None and images.fused is not None and texts.prompt is not None:
            cells = images.fused[image_index]
            if self.prior is not None and similarity is not None:
                cells = cells + self.prior(similarity, (cells.shape[2], cells.shape[3]))
            skip = self.decoder.upsampler.project_skip(images.fine)
            out = self.decoder(cells, texts.prompt, texts.prompt_mask, None if skip is None else skip[image_index])
            mask_logits = out.mask_logits + (0.0 if mask_logits is None else _resize(mask_logits, out.mask_logits))
            iou = out.iou + (0.0 if iou is None else iou)
            presence_logit = out.presence_logit + (0.0 if presence_logit is None else presence_logit)
        assert mask_logits is not None and iou is not None and presence_logit is not None  # the config has a head
        return Decoded(mask_logits, iou, presence_logit, similarity)

    def _compare(self, head: DenseTextHead, images: EncodedImages, texts: EncodedTexts, image_index: Tensor) -> Tensor:
        """Give the similarity of each (image, text) pair, shape (N, he, we)."""
        assert images.pixel_embedding is not None and texts.dense is not None
        similarities, places = [], []
        for image, pixels in enumerate(images.pixel_embedding):
            # with one image every text is asked of it: no data-dependent shape, so the graph can be exported
            rows = torch.arange(image_index.shape[0], device=image_index.device)
            if len(images.pixel_embedding) > 1:
                rows = rows[image_index == image]
            similarities.append(head.similarity(pixels, texts.dense[rows]))
            places.append(rows)
        return torch.cat(similarities)[torch.cat(places).argsort()]


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
        peak_margin=dense.peak_margin,
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
