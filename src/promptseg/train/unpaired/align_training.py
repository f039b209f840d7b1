"""The second stage of Uni-OVSeg: the adapter learns to move regions towards the names in captions."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from promptseg.data.sample import Sample
from promptseg.models.uniovseg.config import UniOvSegConfig
from promptseg.models.uniovseg.network import UniOvSeg
from promptseg.train.config import TrainConfig
from promptseg.train.recipe import Recipe
from promptseg.train.unpaired.alignment import AlignObjective, AlignSettings
from promptseg.train.unpaired.mask_training import ADAPTER, build_uniovseg
from promptseg.train.unpaired.text_batches import TextBatch, TextSource

VALIDATION_BATCH = 8


@dataclass(frozen=True)
class CaptionedImages:
    """What a run of the second stage reads.

    Attributes:
        train: Images with captions.
        validation: Others.
        entities: Names by sample id, for images whose captions are not to be parsed.
    """

    train: Sequence[Sample]
    validation: Sequence[Sample]
    entities: Mapping[str, Sequence[str]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class AlignTraining:
    """The parts of such a recipe; `dataclasses.replace` makes variants of it.

    Attributes:
        config: Numbers of the run.
        read: (data directory, pseudo-mask directory or None) to images with captions.
        model: Architecture; None: that of the row "uniovseg".
        settings: How regions are found and paired with names.
    """

    config: TrainConfig
    read: Callable[[Path, Path | None], CaptionedImages]
    model: UniOvSegConfig | None = None
    settings: AlignSettings = field(default_factory=AlignSettings)

    def recipe(self) -> Recipe:
        """Return the recipe that the loop runs."""
        session = _AlignSession(self)
        return Recipe(
            config=self.config,
            build_model=self.build_model,
            build_data=self.build_data,
            step=session.step,
            validate=session.validate,
        )

    def build_model(self) -> UniOvSeg:
        """Build the model, all but its adapter frozen; a run starts from a checkpoint of the first stage (`--init`)."""
        model = build_uniovseg(self.model)
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name.startswith(ADAPTER))
        return model

    def build_data(self, data_dir: Path, pseudo_dir: Path | None) -> tuple[TextSource, TextSource]:
        """Read the images."""
        images = self.read(data_dir, pseudo_dir)
        side = self.model.image_size if self.model is not None else UniOvSegConfig.image_size
        train = TextSource(images.train, side=side, entities=images.entities)
        return train, TextSource(images.validation, side=side, entities=images.entities, flip=0.0)


class _AlignSession:
    """What the steps of one run share: the vectors of names."""

    def __init__(self, training: AlignTraining) -> None:
        self._objective = AlignObjective(training.settings)

    def step(self, model: UniOvSeg, batch: TextBatch) -> Mapping[str, Tensor]:
        """Compute the losses."""
        return self._objective(model, batch)

    def validate(self, model: UniOvSeg, source: TextSource) -> dict[str, float]:
        """Measure the mean cosine of the surest pairs of held-out images, with the adapter and by CLIP alone.

        It selects a checkpoint, and says nothing about the names being right: evaluate that with true masks.
        """
        totals = {"cosine": 0.0, "clip_cosine": 0.0}
        count = 0.0
        for start in range(0, len(source), VALIDATION_BATCH):
            rng = np.random.default_rng(0)
            indexes = range(start, min(start + VALIDATION_BATCH, len(source)))
            batch = source.collate([source.item(index, rng) for index in indexes]).to(model.device)
            with torch.no_grad():
                losses = self._objective(model, batch)
            pairs = losses["pairs"].item() * len(batch.sample_ids)
            totals["cosine"] += pairs * (1.0 - losses["loss"].item())
            totals["clip_cosine"] += pairs * losses["clip_cosine"].item()
            count += pairs
        return {**{name: total / max(count, 1.0) for name, total in totals.items()}, "pairs": count}
