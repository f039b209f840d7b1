"""Training of what a text, an example or a mixture of both steers: CLIPSeg, its relatives, its ablations.

Shapes: B images, M of them with an example, S pixels along each side.

Source:
    Lüddecke and Ecker 2022, arXiv:2112.10003; training.py and datasets/phrasecut.py of github.com/timojl/clipseg
    @ 77c4e2d (MIT).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from promptseg.data.crops import CropBox
from promptseg.data.phrasecut_plus import PlusOptions, PlusQuestions
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
from promptseg.train.cache import normalize
from promptseg.train.config import TrainConfig
from promptseg.train.recipe import Recipe
from promptseg.train.views import View, view_image, view_mask

VALIDATION_QUESTIONS = 512
_VALIDATION_BATCH = 16


@dataclass(frozen=True, eq=False)
class SteeredItem:
    """One question with its true answer; see `SteeredBatch`."""

    sample_id: str
    image_rgb: np.ndarray
    mask: Mask
    text: str
    example_rgb: np.ndarray | None
    text_share: float


@dataclass(frozen=True, kw_only=True)
class SteeredBatch:
    """B images, each asked one question.

    Attributes:
        sample_ids: Names of the images.
        images_rgb: Shape (B, S, S, 3), uint8.
        masks: True answers, shape (B, S, S), bool; empty where the image has no such thing.
        texts: B phrases.
        examples_rgb: Engineered images of what is meant, shape (M, S, S, 3), uint8.
        example_index: Which image each is for, shape (M,), int64.
        text_shares: How much of each question is its text; the rest is its example. Shape (B,), 1 without an example.
    """

    sample_ids: tuple[str, ...]
    images_rgb: Tensor
    masks: Tensor
    texts: tuple[str, ...]
    examples_rgb: Tensor
    example_index: Tensor
    text_shares: Tensor

    def to(self, device: torch.device) -> Self:
        """The same batch with its tensors on another device."""
        moved: dict[str, Any] = {
            name: value.to(device) for name, value in vars(self).items() if isinstance(value, Tensor)
        }
        return replace(self, **moved)


@dataclass(frozen=True)
class SteeredSource:
    """Questions as items of training; a `TrainSource`.

    Attributes:
        questions: What is asked of which part of which image.
        side: Pixels along each side of what the towers see; images are squashed to a square.
        visual_prompt: How an example's image shows which part of it is meant.
        text_shares: Where there is an example, the text's share of the question is drawn evenly between these two.

    Raises:
        RecipeError: The visual prompt changes the tower's attention and no pixels, or a share is none.
    """

    questions: PlusQuestions
    side: int
    visual_prompt: Variant
    text_shares: tuple[float, float]

    def __post_init__(self) -> None:
        if VARIANTS[self.visual_prompt].attention is not None:
            raise RecipeError(f"training takes visual prompts that change pixels, {self.visual_prompt!r} does not")
        if not 0.0 <= self.text_shares[0] <= self.text_shares[1] <= 1.0:
            raise RecipeError(f"text_shares are two shares from 0 to 1, the lower first, not {self.text_shares}")

    def __len__(self) -> int:
        return len(self.questions)

    def item(self, index: int, rng: np.random.Generator) -> SteeredItem:
        """Make one item; every choice comes from `rng`.

        Raises:
            ImageError: An image can't be read.
            DataError: A mask is damaged, or no foreign phrase is to be had.
        """
        drawn = self.questions.draw(index, rng)
        query = drawn.episode.query
        truth = union_mask([rle for target in query.targets for rle in target.masks], query.size_hw)
        image_rgb, mask = self._look(query.image, truth, drawn.crop_xyxy)
        example_rgb = None
        for exemplar in drawn.episode.support:
            height, width = exemplar.mask["size"]
            shown_rgb, meant = self._look(
                exemplar.image, union_mask([exemplar.mask], (height, width)), drawn.support_crop_xyxy
            )
            # what is smaller than a pixel by now shows nothing
            if meant.any():
                engineered = engineer(shown_rgb, meant, variant=self.visual_prompt)
                example_rgb = view_image(engineered.image_rgb, View(), (self.side, self.side))
        text_share = 1.0 if example_rgb is None else float(rng.uniform(*self.text_shares))
        return SteeredItem(query.sample_id, image_rgb, mask, drawn.text, example_rgb, text_share)

    def _look(self, image: Path | bytes, mask: Mask, crop_xyxy: CropBox | None) -> tuple[np.ndarray, Mask]:
        """See a part of an image and of its mask, both S pixels wide and high."""
        view, size_hw = View(crop_xyxy=crop_xyxy), (self.side, self.side)
        return view_image(read_image(image), view, size_hw), view_mask(mask, view, size_hw) >= 0.5

    def collate(self, items: list[SteeredItem]) -> SteeredBatch:
        """Join items into a batch."""
        examples = [(row, item.example_rgb) for row, item in enumerate(items) if item.example_rgb is not None]
        no_examples = np.zeros((0, self.side, self.side, 3), np.uint8)
        return SteeredBatch(
            sample_ids=tuple(item.sample_id for item in items),
            images_rgb=torch.from_numpy(np.stack([item.image_rgb for item in items])),
            masks=torch.from_numpy(np.stack([item.mask for item in items])),
            texts=tuple(item.text for item in items),
            examples_rgb=torch.from_numpy(np.stack([one for _, one in examples]) if examples else no_examples),
            example_index=torch.tensor([row for row, _ in examples], dtype=torch.int64),
            text_shares=torch.tensor([item.text_share for item in items]),
        )


def steered_step(model: ClipSeg, batch: SteeredBatch) -> Mapping[str, Tensor]:
    """Compute the cross-entropy of every pixel: a recipe's `step`."""
    logits = _segment(model, batch)
    return {"loss": F.binary_cross_entropy_with_logits(logits, batch.masks.float())}


@torch.no_grad()
def validate_steered(model: ClipSeg, source: SteeredSource) -> dict[str, float]:
    """Measure loss and mean IoU at the model's mask threshold over evenly spaced questions: a recipe's `validate`.

    Quick numbers to choose a checkpoint by; `promptseg evaluate --benchmark` gives those to report.
    """
    indices = range(0, len(source), max(1, len(source) // VALIDATION_QUESTIONS))
    threshold = torch.tensor(model.mask_threshold).logit().item()
    losses, ious = [], []
    for start in range(0, len(indices), _VALIDATION_BATCH):
        chosen = indices[start : start + _VALIDATION_BATCH]
        batch = source.collate([source.item(index, np.random.default_rng(index)) for index in chosen]).to(model.device)
        logits, masks = _segment(model, batch), batch.masks.float()
        losses.append(F.binary_cross_entropy_with_logits(logits, masks, reduction="none").mean(dim=(1, 2)))
        present = batch.masks.any(dim=2).any(dim=1)
        ious.append(mask_iou(logits, masks, threshold=threshold)[present])
    return {"loss": torch.cat(losses).mean().item(), "iou": torch.cat(ious).mean().item()}


def _segment(model: ClipSeg, batch: SteeredBatch) -> Tensor:
    """Give logits, shape (B, S, S), float32."""
    logits: Tensor = model(normalize(batch.images_rgb, model.pixel_statistics), _mix(model, batch))
    return logits.float()


def _mix(model: ClipSeg, batch: SteeredBatch) -> Tensor:
    """Mix texts and examples by their shares, shape (B, E)."""
    mixed = model.embed_texts(batch.texts)
    if len(batch.example_index):
        shown = model.embed_images(normalize(batch.examples_rgb, model.pixel_statistics))
        shares = batch.text_shares[batch.example_index, None].to(mixed)
        mixed[batch.example_index] = shares * mixed[batch.example_index] + (1.0 - shares) * shown.to(mixed)
    return mixed


@dataclass(frozen=True, kw_only=True)
class SteeredTraining:
    """All that such a recipe is made of; `dataclasses.replace` gives its variants, and tests their tiny towers.

    Attributes:
        model: Architecture.
        config: Numbers of the run.
        read_train: Reads the training images in a directory.
        read_validation: Reads the images to validate on.
        questions: What is done to their phrases. Validation asks every phrase that is there, in the first template, of
            the whole image.
        text_shares: See `SteeredSource`.
        pretrained: Whether the towers have their published weights; else they are random, frozen like that, and stored
            with the model (`model.towers` must then be "stored").
    """

    model: ClipSegConfig
    config: TrainConfig
    read_train: Callable[[Path], Sequence[Sample]]
    read_validation: Callable[[Path], Sequence[Sample]]
    questions: PlusOptions
    text_shares: tuple[float, float] = (0.0, 1.0)
    pretrained: bool = True

    def recipe(self) -> Recipe:
        """What the loop looks for."""
        return Recipe(
            config=self.config,
            build_model=self.build_model,
            build_data=self.build_data,
            step=steered_step,
            validate=validate_steered,
        )

    def build_model(self) -> ClipSeg:
        """Build the model with an untrained decoder."""
        towers = (self.model.image_tower, self.model.text_tower) if self.pretrained else ()
        model = build_network(self.model, towers=towers)
        assert isinstance(model, ClipSeg)  # its config says so
        if not self.pretrained:
            load_vocabulary(model.text_tower)
        return model

    def build_data(self, data_dir: Path, pseudo_dir: Path | None) -> tuple[SteeredSource, SteeredSource]:
        """Read the images; there is no use for pseudo-masks."""
        plain = replace(
            self.questions, negative_share=0.0, exemplars=False, templates=self.questions.templates[:1], crops=False
        )
        train, validation = (
            SteeredSource(PlusQuestions(read(data_dir), options), self.model.image_size, self.model.visual_prompt,
                          self.text_shares)
            for read, options in ((self.read_train, self.questions), (self.read_validation, plain))
        )  # fmt: skip
        return train, validation
