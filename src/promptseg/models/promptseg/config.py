"""Config of a PromptSeg model, as plain data."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, get_args

from promptseg.detectors.efficientdet import DETECTOR_NAMES, DetectorName
from promptseg.encoders.classifier import ClassifierName
from promptseg.encoders.tower_facts import Layer, image_tower_facts
from promptseg.errors import CheckpointError
from promptseg.models.config_io import Refiner, build_part, check_choices, check_thresholds
from promptseg.models.promptseg.settings import ClassifierSettings, PipelineSettings

# Fields of version 0.1 for a model with SAM's decoder, which is now promptseg_s1.
_DECODER_FIELDS = ("text_mode", "num_heads", "mlp_dim", "decoder_depth", "lora")


@dataclass(frozen=True)
class PromptSegConfig:
    """Architecture, calibration and thresholds.

    Attributes:
        image_tower: A row of encoders.tower_facts.IMAGE_TOWER_FACTS.
        image_layers: Strides of a convolutional tower, blocks of a transformer.
        text_tower: A row of encoders.tower_facts.TEXT_TOWER_FACTS.
        image_size: Longest side of the tower's input, pixels.
        resize: "square" resizes every image to image_size x image_size; "aspect" makes the longest side image_size
            and rounds the other to a multiple that the tower takes.
        dim: Channels of the fused map.
        fine_stride: Stride of the finer map: 4 or 8; None: no finer map. Convolutional towers only.
        fine_dim: Channels of the finer map.
        embedding_dim: Dimension of the joint space of pixels and texts.
        hidden_dim: Inner width of the text adapter.
        exemplar_dim: Inner width of the head that embeds exemplars.
        peak_margin: Maximum distance, in logits, of a mask's pixels below the peak of its map, for maps with a low
            peak; or None.
        train_towers: Whether the image tower is trained (and then stored in checkpoints).
        trained_names: Names in the training data, normalized by `language.phrases.normalize_phrase`; the vector of any
            other name is mixed with that of its nearest hypernym among them. Empty: texts are never mixed.
        detection_evidence: (scale, shift): if the image tower detects the class that a text names, the best detection
            adds scale * logit(score) + shift to the presence logit of the text. None: detections add nothing.
        classifier: A second source of evidence, and the weights of all evidence for a phrase; they replace
            `detection_evidence`. None: there is no classifier.
        detector: A second detector of the classes that the image tower detects; the detections of both are fused.
            None: those of the tower stand.
        mask_threshold: Minimum probability of a mask's pixels.
        presence_threshold: Minimum presence of a query that counts as found.
        unsure_threshold: Minimum presence of a query that is shown as unsure; None: nothing is unsure.
        presence_calibration: (scale, shift): presence = sigmoid(scale * logit + shift).
        refiner: The SAM model that refines the coarse mask and takes clicks, or None.
        settings: All other thresholds of the pipeline.
    """

    architecture: ClassVar[str] = "promptseg"

    image_tower: str
    image_layers: tuple[Layer, ...]
    text_tower: str
    image_size: int = 512
    resize: Literal["square", "aspect"] = "square"
    dim: int = 256
    fine_stride: int | None = None
    fine_dim: int = 128
    embedding_dim: int = 256
    hidden_dim: int = 512
    exemplar_dim: int = 256
    peak_margin: float | None = None
    train_towers: Literal["none", "image"] = "none"
    trained_names: tuple[str, ...] = ()
    detection_evidence: tuple[float, float] | None = None
    classifier: ClassifierSettings | None = None
    detector: DetectorName | None = None
    mask_threshold: float = 0.5
    presence_threshold: float = 0.5
    unsure_threshold: float | None = None
    presence_calibration: tuple[float, float] = (1.0, 0.0)
    refiner: Refiner | None = None
    settings: PipelineSettings = field(default_factory=PipelineSettings)

    def __post_init__(self) -> None:
        check_choices(
            self,
            resize=("square", "aspect"),
            train_towers=("none", "image"),
            refiner=(None, *get_args(Refiner)),
            detector=(None, *DETECTOR_NAMES),
        )
        check_thresholds(self)
        if self.classifier is not None:
            check_choices(self.classifier, name=get_args(ClassifierName))
        if self.detector is not None and not image_tower_facts(self.image_tower).detected_names:
            raise ValueError(f"a detector needs an image tower that detects, which {self.image_tower} does not")
        if self.unsure_threshold is not None and not 0.0 <= self.unsure_threshold <= self.presence_threshold:
            raise ValueError(f"unsure_threshold must be in [0, presence_threshold], got {self.unsure_threshold}")
        if self.refiner is not None and self.mask_threshold in (0.0, 1.0):
            raise ValueError(f"a refiner needs a mask_threshold between 0 and 1, got {self.mask_threshold}")

    @property
    def published_towers(self) -> tuple[str, ...]:
        """Towers whose weights are not stored in a checkpoint, only named."""
        towers = (self.text_tower,) if self.train_towers == "image" else (self.image_tower, self.text_tower)
        return towers if self.classifier is None else (*towers, self.classifier.name)

    def to_dict(self) -> dict[str, Any]:
        """Convert the config to values that JSON can represent."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "PromptSegConfig":
        """Build a config from the result of `to_dict`, possibly after a JSON round trip; also from version 0.1.

        Raises:
            CheckpointError: A field is unknown, missing or invalid.
        """
        return build_part(cls, _from_first_layout(values) if "dense" in values else values)


def _from_first_layout(values: Mapping[str, Any]) -> dict[str, Any]:
    """Convert the layout of version 0.1, with an object `dense` and fields of the decoder, to the present layout."""
    if values.get("decoder_depth") or values.get("dense") is None:
        raise CheckpointError("a checkpoint with a mask decoder is of architecture promptseg-s1 since version 0.2")
    dense = dict(values["dense"])
    kept = {name: value for name, value in values.items() if name not in ("dense", *_DECODER_FIELDS)}
    if dense.get("exemplar_dim") is None:
        dense.pop("exemplar_dim", None)
    dense["trained_names"] = dense.pop("known_names", ())
    return {**kept, **dense}
