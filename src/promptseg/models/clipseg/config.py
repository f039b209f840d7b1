"""Config of a CLIPSeg model, as plain data."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

from promptseg.models.clipseg.visual_prompt_variants import BEST, Variant
from promptseg.models.config_io import build_part, check_choices, check_thresholds

Block = Literal["attention", "mlp"]
DecoderHead = Literal["simple", "refined", "linear"]


@dataclass(frozen=True)
class ClipSegConfig:
    """Architecture and thresholds; the defaults are those of the published checkpoint.

    Attributes:
        image_tower: A row of encoders.towers.IMAGE_TOWERS that is a transformer with a class token.
        text_tower: A row of encoders.towers.TEXT_TOWERS.
        image_layers: Blocks whose states the decoder reads, ascending; the decoder has one block for each.
        dim: Width of the decoder.
        block: Kind of the decoder's blocks: self-attention and feed-forward, or feed-forward alone.
        num_heads: Attention heads of a block.
        mlp_dim: Inner width of a block's feed-forward part.
        dropout: Dropout rate of a block in training.
        film_block: Index of the block whose input the conditional vector scales and shifts.
        head: Upsampling from cells to pixels: one transposed convolution ("simple"), a convolution and two transposed
            ones ("refined"), or a linear layer ("linear": the mask has one value per cell and must be interpolated).
        pixel_statistics: Mean and deviation that normalize the pixels: those of ImageNet, or of the image tower.
        visual_prompt: Variant of the visual prompt that marks the region of an exemplar.
        image_size: Side of the square that every image is resized to, pixels.
        towers: Whether the towers have published weights, or the checkpoint stores their weights.
        mask_threshold: Minimum probability of a mask's pixels.
        presence_threshold: Minimum presence of a query that counts as found.
        presence_calibration: (scale, shift): presence = sigmoid(scale * highest mask logit + shift). The default gives
            the highest probability of any pixel, which is not calibrated; every query with a mask then counts as found.

    Raises:
        ValueError: A field is invalid, or two fields contradict each other.
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
    head: DecoderHead = "refined"
    pixel_statistics: Literal["imagenet", "tower"] = "imagenet"
    visual_prompt: Variant = BEST
    image_size: int = 352
    towers: Literal["published", "stored"] = "published"
    mask_threshold: float = 0.3
    presence_threshold: float = 0.3
    presence_calibration: tuple[float, float] = (1.0, 0.0)

    def __post_init__(self) -> None:
        check_choices(
            self,
            block=get_args(Block),
            head=get_args(DecoderHead),
            pixel_statistics=("imagenet", "tower"),
            visual_prompt=get_args(Variant),
            towers=("published", "stored"),
        )
        check_thresholds(self)
        if not 0 <= self.film_block < len(self.image_layers):
            raise ValueError(
                f"film_block must be a block from 0 to {len(self.image_layers) - 1}, got {self.film_block}"
            )
        if self.block == "attention" and self.dim % self.num_heads:
            raise ValueError(f"num_heads must divide dim {self.dim}, got {self.num_heads}")

    @property
    def published_towers(self) -> tuple[str, ...]:
        """Towers whose weights are not stored in a checkpoint, only named."""
        return () if self.towers == "stored" else (self.image_tower, self.text_tower)

    def to_dict(self) -> dict[str, Any]:
        """Convert the config to values that JSON can represent."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "ClipSegConfig":
        """Build a config from the result of `to_dict`, possibly after a JSON round trip.

        Raises:
            CheckpointError: A field is unknown, missing or invalid.
        """
        # version 0.1 wrote a field that CLIPSeg does not use
        return build_part(cls, {name: value for name, value in values.items() if name != "refiner"})
