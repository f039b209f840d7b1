"""What a CLIPSeg model is made of, as plain data."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

from promptseg.models.clipseg.visual_prompt_variants import BEST, Variant
from promptseg.models.operating_point import Refiner, check_choices, check_operating_point
from promptseg.models.promptseg.config import build_part

Block = Literal["attention", "mlp"]
Head = Literal["simple", "refined", "linear"]


@dataclass(frozen=True)
class ClipSegConfig:
    """Architecture and operating point; the defaults are those of the published checkpoint.

    Attributes:
        image_tower: A row of encoders.towers.IMAGE_TOWERS that is a transformer with a class token.
        text_tower: A row of encoders.towers.TEXT_TOWERS.
        image_layers: Blocks whose states the decoder reads, rising; it has one block of its own for each.
        dim: Width of the decoder.
        block: What a block of the decoder is: self-attention and feed-forward, or feed-forward alone.
        num_heads: Attention heads of a block.
        mlp_dim: Inner width of its feed-forward part.
        dropout: Of a block, in training.
        film_block: Block whose input the conditional vector scales and shifts.
        head: From cells to pixels: one transposed convolution, a convolution and two of them, or a linear layer (the
            mask then has one value a cell, and whoever shows it interpolates).
        pixel_statistics: What pixels are normalized by: ImageNet's mean and deviation, or those of the image tower.
        visual_prompt: How an exemplar's image shows which part of it is meant.
        image_size: Side of the square that every image is squashed to, pixels.
        towers: Whether the towers are as published, or their weights are stored with the model's.
        mask_threshold: A pixel belongs to the mask from this probability on.
        presence_threshold: A query counts as found from this presence on.
        presence_calibration: (scale, shift): presence = sigmoid(scale * highest mask logit + shift). By default that is
            the highest probability of any pixel, which nobody has calibrated; whatever has a mask is then found.
        refiner: The promptable masker that sharpens the coarse mask, or None.
    """

    architecture: ClassVar[str] = "clipseg"

    image_tower: str = "clip-vit-base-patch16"
    text_tower: str = "clip-vit-base-patch16"
    image_layers: tuple[int, ...] = (3, 6, 9)
    dim: int = 64
    block: Block = "attention"
    num_heads: int = 4
    mlp_dim: int = 2048
    dropout: float = 0.1
    film_block: int = 0
    head: Head = "refined"
    pixel_statistics: Literal["imagenet", "tower"] = "imagenet"
    visual_prompt: Variant = BEST
    image_size: int = 352
    towers: Literal["published", "stored"] = "published"
    mask_threshold: float = 0.3
    presence_threshold: float = 0.3
    presence_calibration: tuple[float, float] = (1.0, 0.0)
    refiner: Refiner | None = None

    def __post_init__(self) -> None:
        check_choices(
            self,
            block=get_args(Block),
            head=get_args(Head),
            pixel_statistics=("imagenet", "tower"),
            visual_prompt=get_args(Variant),
            towers=("published", "stored"),
        )
        check_operating_point(self)
        if not 0 <= self.film_block < len(self.image_layers):
            raise ValueError(
                f"film_block must be a block from 0 to {len(self.image_layers) - 1}, got {self.film_block}"
            )
        if self.block == "attention" and self.dim % self.num_heads:
            raise ValueError(f"num_heads must divide dim {self.dim}, got {self.num_heads}")

    @property
    def published_towers(self) -> tuple[str, ...]:
        """Towers whose weights a checkpoint names and does not hold."""
        return () if self.towers == "stored" else (self.image_tower, self.text_tower)

    def to_dict(self) -> dict[str, Any]:
        """Give the config as what JSON can hold."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "ClipSegConfig":
        """Build a config from what `to_dict` gave, perhaps by way of JSON.

        Raises:
            CheckpointError: a field is unknown, missing, or has a value that no model has.
        """
        return build_part(cls, values)
