"""Training of models that are conditioned on a text, an example or a mixture of both: CLIPSeg and its relatives.

Shapes: B images, M of them with an example, S pixels along each side.

Source:
    Lüddecke and Ecker 2022, arXiv:2112.10003; training.py and datasets/phrasecut.py of github.com/timojl/clipseg
    @ 77c4e2d (MIT).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from promptseg.data.sample import Mask, Sample, union_mask
from promptseg.encoders.towers import load_vocabulary
from promptseg.errors import RecipeError
from promptseg.images import read_image
from promptseg.losses import mask_iou
from promptseg.models.build import build_network
from promptseg.models.clipseg.config import ClipSegConfig
from promptseg.models.clipseg.network import ClipSeg
from promptseg.models.clipseg.visual_prompt import engineer
from promptseg.models.clipseg.visual_prompt_variants import VARIANTS, Variant
from promptseg.train.augment import CropBox, View, view_image, view_mask
from promptseg.train.batch import move_tensors, normalize_images
from promptseg.train.config import TrainConfig
from promptseg.train.phrasecut_plus import PlusOptions, PlusQuestions
from promptseg.train.recipe import Recipe

VALIDATION_QUESTIONS = 512
_VALIDATION_BATCH = 16


@dataclass(frozen=True, eq=False)
class ConditionalItem:
    """One image with its condition and ground truth; see `ConditionalBatch`."""

    sample_id: str
    image_rgb: np.ndarray
    mask: Mask
    text: str
    example_rgb: np.ndarray | None
    text_share: float


@dataclass(frozen=True, kw_only=True)
class ConditionalBatch:
    """B images, each with one condition.

    Attributes:
        sample_ids: Names of the images.
        images_rgb: Shape (B, S, S, 3), uint8.
        masks: Ground truth, shape (B, S, S), bool; empty where the image has no such object.
        texts: B phrases.
        examples_rgb: Visual prompts that show the object, shape (M, S, S, 3), uint8.
        example_index: Image that each visual prompt is for, shape (M,), int64.
        text_shares: Share of the text in each condition; the rest is the example. Shape (B,), 1 without an example.
    """

    sample_ids: tuple[str, ...]
    images_rgb: Tensor
    masks: Tensor
    texts: tuple[str, ...]
    examples_rgb: Tensor
    example_index: Tensor
    text_shares: Tensor

    def to(self, device: torch.device) -> Self:
        """Return the same batch with its tensors on another device."""
        return move_tensors(self, device)


@dataclass(frozen=True)
class ConditionalSource:
    """Training items with a text, an example or both as condition; a `TrainSource`.

    Attributes:
        questions: The (image, phrase) pairs, their crops and examples.
        side: Side of the towers' input, pixels; images are squashed to a square.
        visual_prompt: How the image of an example marks the object.
        text_shares: With an example, the text's share of the condition is drawn evenly between these two.

    Raises:
        RecipeError: The visual prompt changes the tower's attention instead of pixels, or the shares are invalid.
    """

    questions: PlusQuestions
    side: int
    visual_prompt: Variant
    text_shares: tuple[float, float]

    def __post_init__(self) -> None:
        if VARIANTS[self.visual_prompt].attention is not None:
            raise RecipeError(
                f"training needs a visual prompt that changes pixels; {self.visual_prompt!r} changes the attention"
            )
        if not 0.0 <= self.text_shares[0] <= self.text_shares[1] <= 1.0:
            raise RecipeError(f"text_shares must be two shares from 0 to 1, the lower first, not {self.text_shares}")

    def __len__(self) -> int:
        return len(self.questions)

    def item(self, index: int, rng: np.random.Generator) -> ConditionalItem:
        """Make one item; every random choice comes from `rng`.

        Raises:
            ImageError: An image can't be read.
            DataError: A mask is damaged, or the data has no phrase that is foreign to the image.
        """
        drawn = self.questions.draw(index, rng)
        query = drawn.episode.query
        truth = union_mask([rle for target in query.targets for rle in target.masks], query.size_hw)
        image_rgb, mask = self._view(query.image, truth, drawn.crop_xyxy)
        example_rgb = None
        for exemplar in drawn.episode.support:
            height, width = exemplar.mask["size"]
            support_rgb, support_mask = self._view(
                exemplar.image, union_mask([exemplar.mask], (height, width)), drawn.support_crop_xyxy
            )
            # an object that is smaller than a pixel after resizing can't be shown
            if support_mask.any():
                engineered = engineer(support_rgb, support_mask, variant=self.visual_prompt)
                example_rgb = view_image(engineered.image_rgb, View(), (self.side, self.side))
        text_share = 1.0 if example_rgb is None else float(rng.uniform(*self.text_shares))
        return ConditionalItem(query.sample_id, image_rgb, mask, drawn.text, example_rgb, text_share)

    def _view(self, image: Path | bytes, mask: Mask, crop_xyxy: CropBox | None) -> tuple[np.ndarray, Mask]:
        """Return a part of an image and of its mask, both S pixels wide and high."""
        view, size_hw = View(crop_xyxy=crop_xyxy), (self.side, self.side)
        return view_image(read_image(image), view, size_hw), view_mask(mask, view, size_hw) >= 0.5

    def collate(self, items: list[ConditionalItem]) -> ConditionalBatch:
        """Join items into a batch."""
        examples = [(row, item.example_rgb) for row, item in enumerate(items) if item.example_rgb is not None]
        no_examples = np.zeros((0, self.side, self.side, 3), np.uint8)
        return ConditionalBatch(
            sample_ids=tuple(item.sample_id for item in items),
            images_rgb=torch.from_numpy(np.stack([item.image_rgb for item in items])),
            masks=torch.from_numpy(np.stack([item.mask for item in items])),
            texts=tuple(item.text for item in items),
            examples_rgb=torch.from_numpy(np.stack([one for _, one in examples]) if examples else no_examples),
            example_index=torch.tensor([row for row, _ in examples], dtype=torch.int64),
            text_shares=torch.tensor([item.text_share for item in items]),
        )


def conditional_step(model: ClipSeg, batch: ConditionalBatch) -> Mapping[str, Tensor]:
    """Compute the cross-entropy of every pixel: a recipe's `step`."""
    logits = _segment(model, batch)
    return {"loss": F.binary_cross_entropy_with_logits(logits, batch.masks.float())}


@torch.no_grad()
def validate_conditional(model: ClipSeg, source: ConditionalSource) -> dict[str, float]:
    """Measure loss and mean IoU at the model's mask threshold over evenly spaced items: a recipe's `validate`.

    These numbers select a checkpoint; report those of `promptseg evaluate-benchmark`.
    """
    indices = range(0, len(source), max(1, len(source) // VALIDATION_QUESTIONS))
    threshold = torch.tensor(model.config.mask_threshold).logit().item()
    losses, ious = [], []
    for start in range(0, len(indices), _VALIDATION_BATCH):
        chosen = indices[start : start + _VALIDATION_BATCH]
        batch = source.collate([source.item(index, np.random.default_rng(index)) for index in chosen]).to(model.device)
        logits, masks = _segment(model, batch), batch.masks.float()
        losses.append(F.binary_cross_entropy_with_logits(logits, masks, reduction="none").mean(dim=(1, 2)))
        present = batch.masks.any(dim=2).any(dim=1)
        ious.append(mask_iou(logits, masks, threshold=threshold)[present])
    return {"loss": torch.cat(losses).mean().item(), "iou": torch.cat(ious).mean().item()}


def _segment(model: ClipSeg, batch: ConditionalBatch) -> Tensor:
    """Return logits, shape (B, S, S), float32."""
    logits: Tensor = model(normalize_images(batch.images_rgb, model.pixel_statistics), _mix(model, batch))
    return logits.float()


def _mix(model: ClipSeg, batch: ConditionalBatch) -> Tensor:
    """Return the conditions, texts and examples mixed by their shares, shape (B, E)."""
    mixed = model.embed_texts(batch.texts)
    if len(batch.example_index):
        shown = model.embed_images(normalize_images(batch.examples_rgb, model.pixel_statistics))
        shares = batch.text_shares[batch.example_index, None].to(mixed)
        mixed[batch.example_index] = shares * mixed[batch.example_index] + (1.0 - shares) * shown.to(mixed)
    return mixed


@dataclass(frozen=True, kw_only=True)
class ConditionalTraining:
    """The parts of such a recipe; `dataclasses.replace` makes variants of it.

    Attributes:
        model: Architecture.
        config: Numbers of the run.
        read_train: Reads the training images of a directory.
        read_validation: Reads the validation images of a directory.
        questions: Options for the phrases. Validation takes every present phrase, in the first template, of the whole
            image.
        text_shares: See `ConditionalSource`.
        pretrained: Whether the towers have their published weights. Otherwise they are random, frozen, and stored with
            the model (`model.towers` must then be "stored").
    """

    model: ClipSegConfig
    config: TrainConfig
    read_train: Callable[[Path], Sequence[Sample]]
    read_validation: Callable[[Path], Sequence[Sample]]
    questions: PlusOptions
    text_shares: tuple[float, float] = (0.0, 1.0)
    pretrained: bool = True

    def recipe(self) -> Recipe:
        """Return the recipe that the loop runs."""
        return Recipe(
            config=self.config,
            build_model=self.build_model,
            build_data=self.build_data,
            step=conditional_step,
            validate=validate_conditional,
        )

    def build_model(self) -> ClipSeg:
        """Build the model with an untrained decoder."""
        towers = (self.model.image_tower, self.model.text_tower) if self.pretrained else ()
        model = build_network(self.model, towers=towers)
        assert isinstance(model, ClipSeg)  # its config is a ClipSegConfig
        if not self.pretrained:
            load_vocabulary(model.text_tower)
        return model

    def build_data(self, data_dir: Path, pseudo_dir: Path | None) -> tuple[ConditionalSource, ConditionalSource]:
        """Read the images; pseudo-masks are not used."""
        plain = replace(
            self.questions, negative_share=0.0, exemplars=False, templates=self.questions.templates[:1], crops=False
        )
        train, validation = (
            ConditionalSource(PlusQuestions(read(data_dir), options), self.model.image_size, self.model.visual_prompt,
                          self.text_shares)
            for read, options in ((self.read_train, self.questions), (self.read_validation, plain))
        )  # fmt: skip
        return train, validation
