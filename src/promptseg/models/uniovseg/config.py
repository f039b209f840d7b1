"""Config of a Uni-OVSeg model, as plain data. Nothing here imports torch."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from promptseg.language.class_names import COCO_THINGS
from promptseg.language.prompt_templates import VILD_TEMPLATES
from promptseg.models.config_io import build_part, check_choices, check_thresholds
from promptseg.results.merging import MergeSettings

# What else an image may show: a name that is asked alone competes with these.
OTHER_NAMES = (
    *COCO_THINGS, "sky", "cloud", "grass", "tree", "plant", "flower", "road", "pavement", "ground", "sand", "snow",
    "water", "sea", "mountain", "rock", "building", "house", "wall", "fence", "floor", "ceiling", "window", "door",
    "curtain", "carpet", "shelf", "cabinet", "lamp", "food", "clothes",
)  # fmt: skip

# Mask2Former's rule with the thresholds of the authors' configuration.
MERGE = MergeSettings(contest="all", min_score=0.7, min_visible_share=0.4)


@dataclass(frozen=True)
class RegionSettings:
    """How the regions of an image are found and named; no field needs training.

    Attributes:
        points_per_side: Points along each side of the image; their square is the number of prompts.
        points_per_call: Prompts that are decoded together.
        min_score: Least estimated quality of a mask. The published code keeps what is at least .65 after a second
            sigmoid, which is a score of at least .62.
        max_iou: A mask is dropped where its IoU with a better one reaches this.
        max_inside_share: A mask is dropped where this share of it lies inside a better one.
        pooling: How the cells of a region are weighted: by the "shares" that it covers, or as the published "cells".
        templates: Sentences around a name, whose vectors are averaged; {} stands for the name.
        other_names: What a name that is asked alone competes with, and every class of a panoptic map. Names of one
            request do not compete.
        merge: How regions become the segments of a panoptic map; the authors published no code for it.

    Raises:
        ValueError: A number is out of its range, or a template lacks {}.
    """

    points_per_side: int = 20
    points_per_call: int = 100
    min_score: float = 0.62
    max_iou: float = 0.5
    max_inside_share: float = 0.7
    pooling: Literal["shares", "cells"] = "shares"
    templates: tuple[str, ...] = VILD_TEMPLATES
    other_names: tuple[str, ...] = OTHER_NAMES
    merge: MergeSettings = MERGE

    def __post_init__(self) -> None:
        check_choices(self, pooling=("shares", "cells"))
        for name in ("points_per_side", "points_per_call"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be 1 or more, got {getattr(self, name)}")
        for name in ("min_score", "max_iou", "max_inside_share"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{name} must be in [0, 1], got {getattr(self, name)}")
        if not self.templates or any("{}" not in template for template in self.templates):
            raise ValueError(f"templates must be sentences with {{}} for the name, got {self.templates}")


@dataclass(frozen=True)
class UniOvSegConfig:
    """Architecture and thresholds; the defaults are those of the authors' code with the paper's six decoder layers.

    Attributes:
        image_tower: A row of encoders.towers.IMAGE_TOWERS with maps of strides 4 to 32; for names, a ConvNeXt of CLIP.
        text_tower: A row of encoders.towers.TEXT_TOWERS, in the same space; None: the model takes points and boxes
            only, and has no adapter.
        image_size: Side of the square that an image is scaled into and padded to, pixels, a multiple of 32.
        dim: Width of both decoders.
        num_heads: Attention heads.
        encoder_layers: Deformable layers of the pixel decoder.
        encoder_points: Points of each of their heads in each map.
        encoder_mlp_dim: Inner width of their feed-forward parts.
        decoder_layers: Masked layers of the mask decoder: 6 in the paper, 9 in the published checkpoint.
        decoder_mlp_dim: Inner width of their feed-forward parts.
        granularities: Masks of a point.
        positions: Position codes: "sine" in the paper, "fourier" in the authors' code.
        norm: Norm of the pixel decoder's input projections: "layer" in the authors' code, "group" in Mask2Former's.
        placed_features: Whether the positions of cells, in the codes of the prompts, are added to the mask features, so
            that a mask is soon learned to be near its prompt; neither paper nor code does. For short training runs.
        adapter_rank: Width of the multi-scale feature adapter's low-rank layers.
        towers: Whether the towers have published weights, or the checkpoint stores their weights.
        settings: How regions are found and named.
        mask_threshold: Minimum probability of a mask's pixels.
        presence_threshold: Minimum presence of a name that counts as found; presence is not calibrated.

    Raises:
        ValueError: A field is invalid, or two fields contradict each other.
    """

    architecture: ClassVar[str] = "uniovseg"
    image_layers: ClassVar[tuple[int, ...]] = (4, 8, 16, 32)

    image_tower: str = "clip-convnext-large-d-320"
    text_tower: str | None = "clip-convnext-large-d-320"
    image_size: int = 1024
    dim: int = 256
    num_heads: int = 8
    encoder_layers: int = 6
    encoder_points: int = 4
    encoder_mlp_dim: int = 1024
    decoder_layers: int = 6
    decoder_mlp_dim: int = 2048
    granularities: int = 4
    positions: Literal["fourier", "sine"] = "fourier"
    norm: Literal["layer", "group"] = "layer"
    placed_features: bool = False
    adapter_rank: int = 8
    towers: Literal["published", "stored"] = "stored"
    settings: RegionSettings = field(default_factory=RegionSettings)
    mask_threshold: float = 0.5
    presence_threshold: float = 0.5

    def __post_init__(self) -> None:
        check_choices(self, positions=("fourier", "sine"), norm=("layer", "group"), towers=("published", "stored"))
        check_thresholds(self)
        if not isinstance(self.settings, RegionSettings):
            raise ValueError(f"settings must be RegionSettings, got {self.settings!r}")
        if self.image_size < 32 or self.image_size % 32:
            raise ValueError(f"image_size must be a multiple of 32, got {self.image_size}")
        if self.dim % (4 * self.num_heads):
            raise ValueError(f"dim must be a multiple of 4 times num_heads {self.num_heads}, got {self.dim}")
        for name in ("encoder_layers", "encoder_points", "decoder_layers", "granularities", "adapter_rank"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be 1 or more, got {getattr(self, name)}")

    @property
    def published_towers(self) -> tuple[str, ...]:
        """Towers whose weights are not stored in a checkpoint, only named."""
        if self.towers == "stored":
            return ()
        return (self.image_tower,) if self.text_tower is None else (self.image_tower, self.text_tower)

    def to_dict(self) -> dict[str, Any]:
        """Convert the config to values that JSON can represent."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "UniOvSegConfig":
        """Build a config from the result of `to_dict`, possibly after a JSON round trip.

        Raises:
            CheckpointError: A field is unknown, missing or invalid.
        """
        return build_part(cls, values)
