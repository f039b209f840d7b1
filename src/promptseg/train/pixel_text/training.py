"""Training of the default architecture on annotated images: image tower, neck and pixel-text head."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from torch import Tensor

from promptseg.data.sample import Sample, Target, target_mask
from promptseg.encoders.towers import load_tower
from promptseg.errors import RecipeError
from promptseg.images import read_image
from promptseg.models.checkpoint import save_pretrained
from promptseg.models.promptseg.config import PromptSegConfig
from promptseg.models.promptseg.network import PromptSegNetwork
from promptseg.models.registry import find_row, segment_with
from promptseg.ops.resize import resize_map
from promptseg.prompts import Query, TextPrompt
from promptseg.train.config import TrainConfig
from promptseg.train.pixel_text.batches import PixelTextBatch, PixelTextSettings, PixelTextSource
from promptseg.train.pixel_text.objective import PixelTextObjective, embed_names
from promptseg.train.pixel_text.vocabulary import collect_vocabulary, shown_names
from promptseg.train.recipe import Recipe

# Strides 2 and 4 of EfficientNet and all of YOLOX, in the default model.
DEFAULT_FROZEN = (
    "image_tower.second.",
    *(f"image_tower.first.{part}." for part in ("_conv_stem", "_bn0", *(f"_blocks.{i}" for i in range(4)))),
)
VALIDATION_IMAGES = 60
VALIDATION_THRESHOLDS = np.array([-2.0, -1.4, -0.85, -0.4, 0.0, 0.4])  # logits


@dataclass(frozen=True, kw_only=True)
class PixelTextTraining:
    """The parts of such a recipe; `dataclasses.replace` makes variants of it.

    Presence and predicted IoU are not trained: calibrate them afterwards with `train.presence_calibration`.

    Attributes:
        config: Numbers of the run.
        read: (data directory, pseudo-mask directory or None) to training images and validation images.
        model: Architecture; None: that of the default model.
        pretrained: Whether the towers start from their published weights.
        frozen: Prefixes of the parameters that are not trained.
        always_included: Names that every batch holds, besides `stuff`.
        stuff: Names that are absent only where people annotated their absence.
        set_weights: Relative probability of an image of each set.
        num_items: Crops in an epoch.
        settings: How crops are made.
        stuff_factor: Factor on the probability of images in which people have drawn stuff.
        partly_named: Sets whose annotation omits most of what they show.
    """

    config: TrainConfig
    read: Callable[[Path, Path | None], tuple[Sequence[Sample], Sequence[Sample]]]
    model: PromptSegConfig | None = None
    pretrained: bool = True
    frozen: tuple[str, ...] = DEFAULT_FROZEN
    always_included: tuple[str, ...] = ()
    stuff: tuple[str, ...] = ()
    set_weights: Mapping[str, float] = field(default_factory=dict)
    num_items: int = 8000
    settings: PixelTextSettings = field(default_factory=PixelTextSettings)
    stuff_factor: float = 1.0
    partly_named: frozenset[str] = frozenset()

    def recipe(self) -> Recipe:
        """Return the recipe that the loop runs."""
        session = _TrainSession(self)
        return Recipe(
            config=self.config,
            build_model=self.build_model,
            build_data=session.build_data,
            step=session.step,
            validate=validate_masks,
            save=session.save,
        )

    def build_model(self) -> PromptSegNetwork:
        """Build the model with an untrained neck and head.

        Raises:
            RecipeError: The config is not that of a PromptSegNetwork.
        """
        config = find_row("promptseg").config if self.model is None else self.model
        if not isinstance(config, PromptSegConfig):
            raise RecipeError("pixel-text training needs an architecture of the default model (a PromptSegConfig)")
        # the peak margin is chosen, and the exemplar head is fitted, after training
        model = PromptSegNetwork(replace(config, peak_margin=None))
        if self.pretrained:
            load_tower(model.image_tower, config.image_tower)
            load_tower(model.text_tower, config.text_tower)
        for name, parameter in model.named_parameters():
            if name.startswith(self.frozen):
                parameter.requires_grad_(False)
        return model

    def build_source(self, samples: Sequence[Sample]) -> PixelTextSource:
        """Build the training source; its vocabulary holds every name of the images."""
        return PixelTextSource(
            samples=samples,
            vocabulary=collect_vocabulary(samples, (*self.always_included, *self.stuff)),
            set_weights=self.set_weights,
            always_included=self.always_included,
            stuff=self.stuff,
            num_items=self.num_items,
            settings=self.settings,
            stuff_factor=self.stuff_factor,
            partly_named=self.partly_named,
        )


class _TrainSession:
    """The state that the steps of one run share: the vocabulary and the vectors of its names."""

    def __init__(self, training: PixelTextTraining) -> None:
        self._training = training
        self._names: tuple[str, ...] = ()
        self._trained_names: tuple[str, ...] = ()
        self._objective: PixelTextObjective | None = None

    def build_data(self, data_dir: Path, pseudo_dir: Path | None) -> tuple[PixelTextSource, Sequence[Sample]]:
        """Read the images."""
        train, validation = self._training.read(data_dir, pseudo_dir)
        source = self._training.build_source(train)
        self._names, self._trained_names = source.vocabulary.names, shown_names(train)
        return source, validation

    def step(self, model: PromptSegNetwork, batch: PixelTextBatch) -> Mapping[str, Tensor]:
        """Compute the losses; the first call embeds the names of the vocabulary with the text tower."""
        if self._objective is None:
            self._objective = PixelTextObjective(embed_names(model, self._names))
        return self._objective(model, batch)

    def save(self, model: PromptSegNetwork, directory: Path) -> None:
        """Write the model with the names that it was trained on."""
        model.config = replace(model.config, trained_names=self._trained_names)
        save_pretrained(model, directory, half=True)


def validate_masks(model: PromptSegNetwork, samples: Sequence[Sample]) -> dict[str, float]:
    """Measure mean IoU of human masks at the best of some thresholds, whatever the predicted presence.

    These numbers select a checkpoint; report those of `promptseg evaluate`.

    Returns:
        "iou", the threshold and the number of (image, name) pairs, and the mean IoU of each kind of name.

    Raises:
        RecipeError: No image has a human mask.
    """
    ious: list[np.ndarray] = []
    kinds: list[str] = []
    labeled = [(sample, targets) for sample in samples if (targets := _human_targets(sample))]
    if not labeled:
        raise RecipeError(f"none of {len(samples)} validation images has a human mask of a name")
    segmenter = segment_with(model)
    for sample, targets in labeled[:: max(1, len(labeled) // VALIDATION_IMAGES)]:
        queries = [Query(target.phrase, (TextPrompt(target.phrase),)) for target in targets]
        logits = segmenter.segment(segmenter.encode_image(read_image(sample.image)), queries).mask_logits
        for target, coarse in zip(targets, logits, strict=True):
            values = resize_map(coarse, sample.size_hw)
            truth = target_mask(target, sample.size_hw)
            masks = values[None] > VALIDATION_THRESHOLDS[:, None, None]
            ious.append((masks & truth).sum((1, 2)) / np.maximum((masks | truth).sum((1, 2)), 1))
            kinds.append(target.kind)
    table, names = np.array(ious), np.array(kinds)
    best = int(table.mean(0).argmax())
    by_kind = {f"iou_{kind}": float(table[names == kind, best].mean()) for kind in sorted(set(kinds))}
    return {
        "iou": float(table[:, best].mean()),
        "threshold_logit": float(VALIDATION_THRESHOLDS[best]),
        "pairs": len(table),
        **by_kind,
    }


def _human_targets(sample: Sample) -> list[Target]:
    return [
        target for target in sample.targets if target.masks and target.source == "human" and target.kind != "phrase"
    ]
