"""Config of a PromptSeg-S1 model, as plain data."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from promptseg.encoders.tower_facts import Layer
from promptseg.models.config_io import build_part, check_choices, check_thresholds


@dataclass(frozen=True)
class LoraConfig:
    """Low-rank adapters inside the frozen towers.

    Attributes:
        rank: Inner width of an adapter.
        alpha: An adapter's output is scaled by alpha / rank.
        image_layers: Blocks of the image tower that get adapters.
        text_layers: Blocks of the text tower that get adapters.
    """

    rank: int = 8
    alpha: int = 16
    image_layers: tuple[int, ...] = ()
    text_layers: tuple[int, ...] = ()


@dataclass(frozen=True)
class PromptSegS1Config:
    """Architecture and thresholds.

    Attributes:
        image_tower: A row of encoders.tower_facts.IMAGE_TOWER_FACTS.
        image_layers: Strides of a convolutional tower, blocks of a transformer.
        text_tower: A row of encoders.tower_facts.TEXT_TOWER_FACTS.
        text_mode: The decoder reads one vector per text ("pooled"), or that vector and every token ("tokens").
        image_size: Longest side of the tower's input, pixels.
        resize: "square" resizes every image to image_size x image_size; "aspect" makes the longest side image_size
            and rounds the other to a multiple that the tower takes.
        dim: Channels of the fused map and of the decoder's tokens.
        num_heads: Attention heads of the decoder.
        mlp_dim: Inner width of the decoder's feed-forward parts.
        decoder_depth: Number of two-way blocks, at least 1.
        fine_stride: Stride of the finer map: 4 or 8; None: no finer map. Convolutional towers only.
        fine_dim: Channels of the finer map.
        lora: Adapters, or None.
        train_towers: Whether the image tower is trained (and then stored in checkpoints).
        mask_threshold: Minimum probability of a mask's pixels.
        presence_threshold: Minimum presence of a query that counts as found.
        presence_calibration: (scale, shift): presence = sigmoid(scale * logit + shift).

    Raises:
        ValueError: A field is invalid, or two fields contradict each other.
    """

    architecture: ClassVar[str] = "promptseg-s1"

    image_tower: str
    image_layers: tuple[Layer, ...]
    text_tower: str
    text_mode: Literal["pooled", "tokens"] = "pooled"
    image_size: int = 512
    resize: Literal["square", "aspect"] = "square"
    dim: int = 256
    num_heads: int = 8
    mlp_dim: int = 2048
    decoder_depth: int = 3
    fine_stride: int | None = None
    fine_dim: int = 128
    lora: LoraConfig | None = None
    train_towers: Literal["none", "image"] = "none"
    mask_threshold: float = 0.5
    presence_threshold: float = 0.5
    presence_calibration: tuple[float, float] = (1.0, 0.0)

    def __post_init__(self) -> None:
        check_choices(self, text_mode=("pooled", "tokens"), resize=("square", "aspect"), train_towers=("none", "image"))
        check_thresholds(self)
        if self.decoder_depth < 1:
            raise ValueError(f"decoder_depth must be 1 or more, got {self.decoder_depth}")
        if self.train_towers == "image" and self.lora is not None and self.lora.image_layers:
            raise ValueError("train the image tower or give it adapters (lora.image_layers), not both")

    @property
    def published_towers(self) -> tuple[str, ...]:
        """Towers whose weights are not stored in a checkpoint, only named."""
        return (self.text_tower,) if self.train_towers == "image" else (self.image_tower, self.text_tower)

    def to_dict(self) -> dict[str, Any]:
        """Convert the config to values that JSON can represent."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "PromptSegS1Config":
        """Build a config from the result of `to_dict`, possibly after a JSON round trip.

        Raises:
            CheckpointError: A field is unknown, missing or invalid.
        """
        return build_part(cls, values)
