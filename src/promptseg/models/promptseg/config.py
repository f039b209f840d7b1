"""What a PromptSeg model is made of, as plain data."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeVar

from promptseg.encoders.base import Layer
from promptseg.errors import CheckpointError
from promptseg.models.operating_point import Refiner, check_choices, check_operating_point

Part = TypeVar("Part")


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
class DenseConfig:
    """Pixel embeddings compared with text embeddings.

    Attributes:
        embedding_dim: Width of the common space.
        hidden_dim: Inner width of the text adapter.
        peak_margin: How far below its own peak a text's mask may reach where that peak is low, in logits, or None.
        exemplar_dim: Inner width of what reads examples in other images; None: the model takes no exemplars.
        known_names: Names that it was trained on, as `language.phrases.normalize_phrase` spells them; any other leans
            on the nearest of them that is a kind of it (`language.hypernyms`). Empty: each text stands for itself.
        detection_evidence: (scale, shift): where the image tower detects what a text names, the surest detection adds
            scale * logit(score) + shift to its presence logit. None: detections say nothing.
    """

    embedding_dim: int = 256
    hidden_dim: int = 512
    peak_margin: float | None = None
    exemplar_dim: int | None = None
    known_names: tuple[str, ...] = ()
    detection_evidence: tuple[float, float] | None = None


@dataclass(frozen=True)
class PromptSegConfig:
    """Architecture and operating point.

    Attributes:
        image_tower: A row of encoders.towers.IMAGE_TOWERS.
        image_layers: Strides of a convolutional tower, blocks of a transformer.
        text_tower: A row of encoders.towers.TEXT_TOWERS.
        text_mode: The decoder reads one vector a text, or that and every token.
        image_size: Longest side of what the tower sees, pixels.
        resize: "square" squashes every image to image_size x image_size; "aspect" makes the longest side image_size
            and rounds the other to what the tower takes.
        dim: Width of the fused map and of the decoder's tokens.
        num_heads: Attention heads of the decoder.
        mlp_dim: Inner width of the decoder's feed-forward parts.
        decoder_depth: Two-way blocks; 0: no decoder, the dense maps are the mask.
        fine_stride: Stride of the finer map: 4 or 8; None: there is none. Convolutional towers only.
        fine_dim: Channels of the finer map.
        dense: Pixel embeddings, or None.
        lora: Adapters, or None.
        train_towers: Whether the image tower is trained (and then stored in checkpoints).
        mask_threshold: A pixel belongs to the mask from this probability on.
        presence_threshold: A query counts as found from this presence on.
        presence_calibration: (scale, shift): presence = sigmoid(scale * logit + shift).
        refiner: The promptable masker that sharpens the coarse mask, or None.
    """

    architecture: ClassVar[str] = "promptseg"

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
    dense: DenseConfig | None = None
    lora: LoraConfig | None = None
    train_towers: Literal["none", "image"] = "none"
    mask_threshold: float = 0.5
    presence_threshold: float = 0.5
    presence_calibration: tuple[float, float] = (1.0, 0.0)
    refiner: Refiner | None = None

    def __post_init__(self) -> None:
        check_choices(self, text_mode=("pooled", "tokens"), resize=("square", "aspect"), train_towers=("none", "image"))
        check_operating_point(self)
        if self.decoder_depth == 0 and self.dense is None:
            raise ValueError("without a decoder (decoder_depth=0) the mask comes from the dense maps: set dense")
        if self.takes_exemplars and self.decoder_depth:
            raise ValueError("exemplars are compared with pixels alone: no decoder (decoder_depth=0)")
        if self.train_towers == "image" and self.lora is not None and self.lora.image_layers:
            raise ValueError("train the image tower or give it adapters (lora.image_layers), not both")

    @property
    def published_towers(self) -> tuple[str, ...]:
        """Towers whose weights a checkpoint names and does not hold."""
        return (self.text_tower,) if self.train_towers == "image" else (self.image_tower, self.text_tower)

    @property
    def takes_exemplars(self) -> bool:
        """Whether examples in other images can be asked with."""
        return self.dense is not None and self.dense.exemplar_dim is not None

    def to_dict(self) -> dict[str, Any]:
        """Give the config as what JSON can hold."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "PromptSegConfig":
        """Build a config from what `to_dict` gave, perhaps by way of JSON.

        Raises:
            CheckpointError: a field is unknown, missing, or has a value that no model has.
        """
        parts = dict(values)
        for name, part in (("dense", DenseConfig), ("lora", LoraConfig)):
            if parts.get(name) is not None:
                parts[name] = build_part(part, parts[name])
        return build_part(cls, parts)


def build_part(part: type[Part], values: Mapping[str, Any]) -> Part:
    """Build a config, or a part of one, from what `dataclasses.asdict` gave, perhaps by way of JSON.

    Raises:
        CheckpointError: a field is unknown, missing, or has a value that no model has.
    """
    # JSON has no tuples
    fields = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    try:
        return part(**fields)
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"not a config of this version of promptseg: {error}") from error
