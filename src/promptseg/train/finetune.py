"""Fine-tuning of the default model and its kind on a small folder: the towers stay, what reads them is fitted.

The towers look once at some crops of each image; their maps stay in memory. On them the neck and the layers that
bring pixels and texts into one space are fitted to the folder's names, while everyday names shall say what they said
before. A few of the images are kept out of that and choose where masks are cut.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from promptseg.data.sample import Sample, target_mask
from promptseg.errors import DataError, RecipeError
from promptseg.images import read_image
from promptseg.language.class_names import COCO_THINGS
from promptseg.layers.dense_text import DenseTextHead
from promptseg.models.build import Network
from promptseg.models.promptseg.network import FUSED_STRIDE, PromptSeg
from promptseg.train.pixel_text.batches import DenseItem, DenseSettings, DenseSource
from promptseg.train.pixel_text.objective import DenseObjective, read_names
from promptseg.train.pixel_text.vocabulary import Vocabulary, collect_vocabulary

# What is fitted, and at which part of the learning rate; the rest of the model stays.
FITTED = {"neck.": 0.2, "dense.pixel_projection.": 1.0, "dense.text_": 1.0, "dense.log_scale": 1.0, "dense.bias": 1.0}
CROP_SHARE = 0.625  # of the longest side that inference gives the tower, as in the default model's training
WEIGHT_DECAY = 0.02
LOGIT_SHIFTS = torch.linspace(-2.0, 2.0, 17)
LEAST_GAIN = 0.005  # in mean IoU; a smaller one is chance


@dataclass(frozen=True, kw_only=True)
class FinetuneSettings:
    """Numbers of a fine-tuning.

    Attributes:
        steps: Updates.
        batch_size: Crops in an update.
        learning_rate: Peak of the schedule.
        crops: Crops of each image on average, each seen once by the towers.
        max_crops: Most of them altogether; one takes about 1 MB of memory with the default model.
        keep_weight: How much it counts that everyday names say what they said before.
        one_in: Of so many images one is held out to report on, and of the others one to choose by.
        seed: Of crops, order and wording.
    """

    steps: int = 80
    batch_size: int = 8
    learning_rate: float = 1e-3
    crops: int = 8
    max_crops: int = 800
    keep_weight: float = 1.0
    one_in: int = 5
    seed: int = 0


@dataclass(frozen=True)
class Parts:
    """A folder's images by their use."""

    train: tuple[Sample, ...]
    choose: tuple[Sample, ...]
    held_out: tuple[Sample, ...]


@dataclass(frozen=True, eq=False)
class _View:
    """A crop that the towers have seen.

    Attributes:
        item: What is known of it, without its pixels.
        maps: What the image tower gave, each (C_i, h_i, w_i), half precision.
        cells: The pixels' embedding before fine-tuning, shape (E, s, s), half precision.
    """

    item: DenseItem
    maps: tuple[Tensor, ...]
    cells: Tensor


@dataclass(frozen=True)
class Fitted:
    """What was done to a model.

    Attributes:
        losses: Of each step.
        logit_shift: Added to every mask logit, chosen on images that were not trained on; 0 where none helped.
    """

    losses: list[float]
    logit_shift: float


def split_images(samples: Sequence[Sample], *, one_in: int) -> Parts:
    """Divide images by the hash of their names, so that the order of the files does not matter.

    Raises:
        DataError: There are fewer than two.
    """
    if len(samples) < 2:
        raise DataError(
            f"{len(samples)} image with a mask is too little: one is to learn from and another to be judged by"
        )
    ranked = sorted(samples, key=lambda sample: hashlib.sha256(sample.sample_id.encode()).digest())
    num_held_out = max(1, round(len(ranked) / one_in))
    rest = ranked[num_held_out:]
    num_choose = len(rest) // one_in
    return Parts(tuple(rest[num_choose:]), tuple(rest[:num_choose]), tuple(ranked[:num_held_out]))


def check_model(model: Network) -> PromptSeg:
    """Give the model back if this way of fine-tuning fits it.

    Raises:
        RecipeError: It has no dense head, or more than that.
    """
    if isinstance(model, PromptSeg) and model.decoder is None and model.dense is not None:
        return model
    raise RecipeError(
        "only the default model and its kind (a dense head, no decoder) are fine-tuned like this; "
        "for others write a recipe: docs/training.md"
    )


def finetune(
    model: PromptSeg,
    parts: Parts,
    settings: FinetuneSettings,
    *,
    watch: Callable[[float], None] = lambda loss: None,
) -> Fitted:
    """Fit a model's dense head to images, in place.

    Args:
        model: From `check_model`.
        parts: Images; what is held out is not looked at.
        settings: Numbers.
        watch: Told the loss after each step.

    Raises:
        DataError: Nothing has a mask.
        ImageError: An image can't be read.
    """
    head = model.dense
    assert head is not None  # check_model made sure
    model.eval().requires_grad_(False)
    source = _build_source(model, parts.train, settings)
    _take_names(model, source.vocabulary.names)
    views = _look(model, source, settings)
    objective = DenseObjective(read_names(model, source.vocabulary.names))
    kept = read_names(model, _unrelated(source.vocabulary))[:, 0]
    said = _Said(head, kept)
    optimizer = _build_optimizer(model, settings)
    peaks = [group["lr"] for group in optimizer.param_groups]
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, peaks, total_steps=settings.steps)
    rng = np.random.default_rng(settings.seed)
    torch.manual_seed(settings.seed)
    losses = []
    for _ in range(settings.steps):
        chosen = [views[i] for i in rng.choice(len(views), min(settings.batch_size, len(views)), replace=False)]
        batch = source.collate([view.item for view in chosen]).to(model.device)
        levels = zip(*(view.maps for view in chosen), strict=True)
        pixels = model.fuse_maps([torch.stack(level).to(model.device).float() for level in levels]).pixel_embedding
        assert pixels is not None  # the model has a dense head
        cells = torch.stack([view.cells for view in chosen]).to(pixels)
        loss = objective.judge(head, pixels, batch)["loss"] + settings.keep_weight * said.change(head, pixels, cells)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
        watch(losses[-1])
    model.requires_grad_(False)
    return Fitted(losses, _shift_masks(model, parts.choose))


def as_names(samples: Sequence[Sample]) -> list[Sample]:
    """Take a folder's phrases as names of things, and those with a black mask as annotated completely."""
    return [
        replace(
            sample,
            targets=tuple(replace(target, kind="thing") for target in sample.targets),
            exhaustive=frozenset(sample.absent),
        )
        for sample in samples
    ]


def _build_source(model: PromptSeg, samples: Sequence[Sample], settings: FinetuneSettings) -> DenseSource:
    samples = as_names(samples)
    vocabulary = collect_vocabulary(samples)
    config, tower = model.config, model.image_tower
    side = max(1, round(CROP_SHARE * config.image_size / tower.multiple)) * tower.multiple
    return DenseSource(
        samples=samples,
        vocabulary=vocabulary,
        set_weights={},
        always_asked=vocabulary.names,
        stuff=(),
        num_items=min(settings.crops * len(samples), settings.max_crops),
        settings=DenseSettings(
            side=side,
            stride=FUSED_STRIDE if config.fine_stride is None else config.fine_stride,
            reference_side=config.image_size,
            mean=tower.mean,
            std=tower.std,
        ),
    )


def _build_optimizer(model: PromptSeg, settings: FinetuneSettings) -> torch.optim.AdamW:
    groups = []
    for prefix, share in FITTED.items():
        parameters = [parameter for name, parameter in model.named_parameters() if name.startswith(prefix)]
        for parameter in parameters:
            parameter.requires_grad_(True)
        groups.append({"params": parameters, "lr": share * settings.learning_rate})
    return torch.optim.AdamW(groups, weight_decay=WEIGHT_DECAY)


@torch.no_grad()
def _look(model: PromptSeg, source: DenseSource, settings: FinetuneSettings) -> list[_View]:
    """Draw all crops and let the towers see them."""
    views = []
    for start in range(0, len(source), settings.batch_size):
        indices = range(start, min(start + settings.batch_size, len(source)))
        items = [source.item(index, np.random.default_rng([settings.seed, index])) for index in indices]
        maps = model.image_tower(torch.from_numpy(np.stack([item.pixels for item in items])).to(model.device))
        cells = model.fuse_maps(maps).pixel_embedding
        assert cells is not None  # the model has a dense head
        for row, item in enumerate(items):
            seen = tuple(level[row].half().cpu() for level in maps)
            views.append(_View(replace(item, pixels=item.pixels[:0]), seen, cells[row].half().cpu()))
    return views


def _take_names(model: PromptSeg, names: Sequence[str]) -> None:
    """Note that names are trained on from now, and no longer lean on their kinds."""
    dense = model.config.dense
    assert dense is not None  # check_model made sure
    if dense.known_names:
        known = tuple(sorted({*dense.known_names, *names}))
        model.config = replace(model.config, dense=replace(dense, known_names=known))


def _unrelated(vocabulary: Vocabulary) -> list[str]:
    """Choose the everyday names that none of the folder's names has to do with."""
    both = Vocabulary(tuple(sorted({*vocabulary.names, *COCO_THINGS})))
    related = np.any([both.unsure_of(index) for index in both.find(vocabulary.names)], axis=0)
    return [name for name, out in zip(both.names, related, strict=True) if not out]


class _Said:
    """What some names said before fine-tuning, to hold the model to it.

    Args:
        head: As it is before.
        kept: The names' pooled vectors, shape (K, C).
    """

    @torch.no_grad()
    def __init__(self, head: DenseTextHead, kept: Tensor) -> None:
        self._kept, self._texts = kept, head.embed_texts(kept)
        self._scale, self._bias = head.log_scale.exp().clone(), head.bias.clone()

    def change(self, head: DenseTextHead, pixels: Tensor, cells: Tensor) -> Tensor:
        """Give the mean squared change of the names' logits at pixels, now and then, each of shape (B, E, s, s)."""
        said = self._scale * torch.einsum("ke,behw->bkhw", self._texts, cells) + self._bias
        says = head.log_scale.exp() * torch.einsum("ke,behw->bkhw", head.embed_texts(self._kept), pixels) + head.bias
        return F.mse_loss(says, said)


@torch.no_grad()
def _shift_masks(model: PromptSeg, samples: Sequence[Sample]) -> float:
    """Shift the model's mask logits by what gives the best mean IoU on images, where that helps."""
    head = model.dense
    assert head is not None
    threshold = torch.tensor(model.mask_threshold).logit()
    curves = []
    for sample in samples:
        targets = sample.with_evidence("mask")
        features = model.encode_image(read_image(sample.image))
        answer = model.segment_texts(features, [target.phrase for target in targets], sample.size_hw)
        for target, logits in zip(targets, answer.mask_logits, strict=True):
            truth = torch.from_numpy(target_mask(target, sample.size_hw)).float()
            share = F.interpolate(truth[None, None], size=logits.shape, mode="area")[0, 0].to(logits) > 0.5
            masks = logits + LOGIT_SHIFTS[:, None, None].to(logits) > threshold
            union = (masks | share).sum((1, 2)).clamp_min(1)
            curves.append((masks & share).sum((1, 2)) / union)
    if not curves:
        return 0.0
    mean = torch.stack(curves).mean(dim=0)
    best = int(mean.argmax())
    if mean[best] < mean[len(LOGIT_SHIFTS) // 2] + LEAST_GAIN:
        return 0.0
    shift = LOGIT_SHIFTS[best].item()
    head.mask_shift.add_(shift)
    return shift
