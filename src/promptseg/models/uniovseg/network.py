"""Network of Uni-OVSeg: a frozen ConvNeXt CLIP, decoders that mask points and boxes, and vectors of regions.

Paper: Wang et al. 2024, "Open-Vocabulary Segmentation with Unpaired Mask-Text Supervision", arXiv:2402.08960. The
layers' files say what is from the paper, what from the authors' inference code, and what is ours.

Shapes: B images, N prompts, R regions, D = config.dim, E dimension of CLIP's space.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from promptseg.encoders.base import ImageTower, TextTower
from promptseg.encoders.convnext_clip import ConvNextClip
from promptseg.encoders.towers import build_image_tower, build_text_tower
from promptseg.layers.feature_adapter import FeatureAdapter
from promptseg.layers.masked_decoder import DecodedMasks, MaskedDecoder
from promptseg.layers.pixel_decoder import PixelDecoder, PixelFeatures
from promptseg.layers.prompt_queries import MaskQueries, PromptQueries
from promptseg.layers.region_pooling import Pooling, cell_weights, pool_regions
from promptseg.models.uniovseg.config import UniOvSegConfig


@dataclass(frozen=True)
class RegionFeatures:
    """What the vector of a region is pooled from.

    Attributes:
        clip: CLIP's map of stride 32, shape (B, C, h, w).
        reduced: What the adapter reads from each map of the tower, strides 4 to 32, each of shape (B, rank, h_i, w_i).
    """

    clip: Tensor
    reduced: tuple[Tensor, ...]


class UniOvSeg(nn.Module):
    """Mask the objects of points and boxes, and embed regions in CLIP's space.

    All weights are random, except those of towers passed as arguments; the adapter changes nothing before training.

    Args:
        config: Architecture and thresholds.
        image_tower: A tower of the config's kind, possibly pretrained; None: a random one.
        text_tower: Likewise; not given where the config names none.

    Raises:
        UnknownModelError: The config names a tower that does not exist.
        ValueError: There is a text tower, and the image tower is not a ConvNeXt of CLIP in the same space.
    """

    def __init__(
        self, config: UniOvSegConfig, image_tower: ImageTower | None = None, text_tower: TextTower | None = None
    ) -> None:
        super().__init__()
        self.config = config
        tower = image_tower or build_image_tower(config.image_tower, config.image_layers)
        self.image_tower = tower.requires_grad_(False)
        self.pixel_decoder = PixelDecoder(
            tower.channels,
            dim=config.dim,
            num_layers=config.encoder_layers,
            num_heads=config.num_heads,
            num_points=config.encoder_points,
            mlp_dim=config.encoder_mlp_dim,
            positions=config.positions,
            norm=config.norm,
        )
        self.prompts = PromptQueries(config.dim, num_granularities=config.granularities, positions=config.positions)
        self.mask_decoder = MaskedDecoder(
            config.dim,
            num_layers=config.decoder_layers,
            num_heads=config.num_heads,
            mlp_dim=config.decoder_mlp_dim,
            num_outputs=1 + config.granularities,
            positions=config.positions,
        )
        self.place = nn.Linear(config.dim, config.dim, bias=False) if config.placed_features else None
        self.text_tower: TextTower | None = None
        self.adapter: FeatureAdapter | None = None
        if config.text_tower is not None:
            if not isinstance(tower, ConvNextClip):
                raise ValueError(f"{config.image_tower} does not project regions: names need a ConvNeXt of CLIP")
            self.text_tower = (text_tower or build_text_tower(config.text_tower)).requires_grad_(False)
            if self.text_tower.dim != tower.embedding_dim:
                raise ValueError(
                    f"{config.text_tower} has {self.text_tower.dim} dimensions, {config.image_tower} "
                    f"{tower.embedding_dim}"
                )
            self.adapter = FeatureAdapter(tower.channels, tower.channels[-1], rank=config.adapter_rank)
        self.train(self.training)

    def train(self, mode: bool = True) -> "UniOvSeg":
        """Set the training mode; the frozen towers stay in evaluation mode."""
        super().train(mode)
        self.image_tower.eval()
        if self.text_tower is not None:
            self.text_tower.eval()
        return self

    @property
    def device(self) -> torch.device:
        """Device of the parameters."""
        return self.pixel_decoder.level_codes.device

    def clip_tower(self) -> ConvNextClip:
        """Return the image tower of a model that takes names. No property: tracing would read it."""
        assert isinstance(self.image_tower, ConvNextClip)  # checked where the text tower is built
        return self.image_tower

    def trained_names(self) -> set[str]:
        """Name the weights that a checkpoint stores: all of the state except the towers with published weights."""
        published = ("text_tower.", "image_tower.") if self.config.published_towers else ()
        return {name for name in self.state_dict() if not name.startswith(published)}

    @torch.no_grad()
    def encode_maps(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """Encode normalized pixels, shape (B, 3, H, W), to the frozen tower's maps, strides 4 to 32."""
        maps: tuple[Tensor, ...] = self.image_tower(pixels)
        return maps

    def decode_pixels(self, maps: Sequence[Tensor]) -> PixelFeatures:
        """Decode the tower's maps, strides 4 to 32, to what masks are decoded from."""
        decoded: PixelFeatures = self.pixel_decoder(maps)
        if self.place is None:
            return decoded
        features = decoded.mask_features
        size_hw = (features.shape[2], features.shape[3])
        places = self.place(self.prompts.positions(size_hw)).transpose(1, 2).unflatten(2, size_hw)
        return PixelFeatures(decoded.maps, features + places)

    def region_features(self, maps: Sequence[Tensor]) -> RegionFeatures:
        """Prepare the tower's maps for `embed_regions`."""
        assert self.adapter is not None  # the model takes names
        return RegionFeatures(maps[-1], self.adapter.reduce(maps))

    def mask_points(self, image: PixelFeatures, boxes_xyxy_unit: Tensor) -> DecodedMasks:
        """Decode the masks of one point each, one of every granularity; arguments as `PromptQueries.embed_point`."""
        return self._decode(image, self.prompts.embed_point(boxes_xyxy_unit, image.mask_features))

    def mask_point_sets(self, image: PixelFeatures, boxes_xyxy_unit: Tensor, on_object: Tensor) -> DecodedMasks:
        """Decode the single mask of several points each; arguments as `PromptQueries.embed_points`."""
        return self._decode(image, self.prompts.embed_points(boxes_xyxy_unit, on_object, image.mask_features))

    def mask_boxes(self, image: PixelFeatures, boxes_xyxy_unit: Tensor) -> DecodedMasks:
        """Decode the single mask of one box each; arguments as `PromptQueries.embed_box`."""
        return self._decode(image, self.prompts.embed_box(boxes_xyxy_unit, image.mask_features))

    def embed_regions(self, features: RegionFeatures, mask_logits: Tensor, pooling: Pooling = "shares") -> Tensor:
        """Embed regions in CLIP's space.

        Args:
            features: Of B images.
            mask_logits: Regions over the whole canvas, not coarser than stride 4, shape (B, R, h, w).
            pooling: How cells are weighted, see `cell_weights`.

        Returns:
            Vectors of length 1, shape (B, R, E).
        """
        assert self.adapter is not None  # the model takes names
        pooled = [
            pool_regions(one, cell_weights(mask_logits, (one.shape[2], one.shape[3]), pooling))
            for one in (features.clip, *features.reduced)
        ]
        return F.normalize(self.clip_tower().project(pooled[0] + self.adapter.update(pooled[1:])), dim=-1)

    def embed_clip_regions(self, clip: Tensor, mask_logits: Tensor, pooling: Pooling = "shares") -> Tensor:
        """Embed regions by CLIP alone, without the adapter.

        Args:
            clip: CLIP's map of stride 32, of any size of the same canvases, shape (B, C, h, w).
            mask_logits: As in `embed_regions`.
            pooling: As in `embed_regions`.

        Returns:
            Vectors of length 1, shape (B, R, E).
        """
        pooled = pool_regions(clip, cell_weights(mask_logits, (clip.shape[2], clip.shape[3]), pooling))
        return F.normalize(self.clip_tower().project(pooled), dim=-1)

    @torch.no_grad()
    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        """Embed N texts in CLIP's space, vectors of length 1, shape (N, E)."""
        assert self.text_tower is not None  # the model takes names
        return self.text_tower.read(texts).pooled

    def _decode(self, image: PixelFeatures, queries: MaskQueries) -> DecodedMasks:
        decoded: DecodedMasks = self.mask_decoder(image, queries)
        return decoded
