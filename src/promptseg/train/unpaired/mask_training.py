"""The first stage of Uni-OVSeg: learn to mask points and boxes from masks without names."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from promptseg.data.sample import Sample
from promptseg.evaluate.benchmarks.promptable import PromptableSettings, score_objects, summarize
from promptseg.models.build import build_pretrained
from promptseg.models.registry import find_row, segment_with
from promptseg.models.uniovseg.config import UniOvSegConfig
from promptseg.models.uniovseg.network import UniOvSeg
from promptseg.models.uniovseg.segmenter import UniOvSegSegmenter
from promptseg.train.config import TrainConfig
from promptseg.train.recipe import Recipe
from promptseg.train.unpaired.mask_batches import MaskSource, MaskViewSettings
from promptseg.train.unpaired.mask_objective import MaskObjective

# The second stage trains the adapter alone.
ADAPTER = "adapter."


@dataclass(frozen=True, kw_only=True)
class MaskTraining:
    """The parts of such a recipe; `dataclasses.replace` makes variants of it.

    Attributes:
        config: Numbers of the run.
        read: (data directory, pseudo-mask directory or None) to training images and validation images.
        model: Architecture; None: that of the row "uniovseg".
        settings: How views are made.
        objective: The losses.
        validation: Which objects are measured, and how.
    """

    config: TrainConfig
    read: Callable[[Path, Path | None], tuple[Sequence[Sample], Sequence[Sample]]]
    model: UniOvSegConfig | None = None
    settings: MaskViewSettings = field(default_factory=MaskViewSettings)
    objective: MaskObjective = field(default_factory=MaskObjective)
    validation: PromptableSettings = field(default_factory=lambda: PromptableSettings(points_per_side=None))

    def recipe(self) -> Recipe:
        """Return the recipe that the loop runs."""
        return Recipe(
            config=self.config,
            build_model=self.build_model,
            build_data=self.build_data,
            step=self.objective,
            validate=self.validate,
        )

    def build_model(self) -> UniOvSeg:
        """Build the model with random towers; a run starts from OpenCLIP's (`models.uniovseg.files.save_start`)."""
        model = build_uniovseg(self.model)
        for name, parameter in model.named_parameters():
            if name.startswith(ADAPTER):
                parameter.requires_grad_(False)
        return model

    def build_data(self, data_dir: Path, pseudo_dir: Path | None) -> tuple[MaskSource, Sequence[Sample]]:
        """Read the images."""
        train, validation = self.read(data_dir, pseudo_dir)
        return MaskSource(train, self.settings), validation

    def validate(self, model: UniOvSeg, samples: Sequence[Sample]) -> dict[str, float]:
        """Measure the mean IoU for a point and for a box on each object; "iou" is the point's best mask.

        Raises:
            DataError: No image has an object.
        """
        segmenter = segment_with(model)
        assert isinstance(segmenter, UniOvSegSegmenter)  # as its network
        means = summarize(list(score_objects(segmenter.sam, samples, self.validation)))
        return {"iou": means["point_oracle"].mean, **{kind: each.mean for kind, each in means.items()}}


def build_uniovseg(config: UniOvSegConfig | None) -> UniOvSeg:
    """Build an untrained Uni-OVSeg with random towers; None: the architecture of the row "uniovseg"."""
    model = build_pretrained(config or find_row("uniovseg").config)  # type: ignore[arg-type]  # a network's config
    assert isinstance(model, UniOvSeg)  # as its config
    return model
