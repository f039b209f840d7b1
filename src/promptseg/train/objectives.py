"""The plain objective of PromptSegNetwork on `PhraseBatch`es (masks, predicted IoU and presence) and its validation."""

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np
import torch
from torch import Tensor

from promptseg.data.sample import ignore_mask, target_mask
from promptseg.errors import RecipeError
from promptseg.images import read_image
from promptseg.losses import dice_loss, iou_regression_loss, mask_bce, mask_iou, presence_loss
from promptseg.models.promptseg.network import PromptSegNetwork
from promptseg.models.promptseg_s1.network import PromptSegS1Network
from promptseg.models.registry import segment_with
from promptseg.ops.resize import resize_map, sigmoid
from promptseg.prompts import Query, TextPrompt
from promptseg.train.batch import normalize_images
from promptseg.train.cache import FeatureCache
from promptseg.train.recipe import CacheOptions, ValidationExample
from promptseg.train.samples import PhraseBatch, PhraseSource

logger = logging.getLogger(__name__)

PhraseNetwork: TypeAlias = PromptSegNetwork | PromptSegS1Network


class PhraseOutput(Protocol):
    """The output of either network for N pairs of an image and a phrase: tensors with first dimension N."""

    @property
    def mask_logits(self) -> Tensor: ...

    @property
    def iou(self) -> Tensor: ...

    @property
    def presence_logit(self) -> Tensor: ...


_VALIDATION_BATCH = 16


@dataclass(frozen=True)
class LossWeights:
    """Weight of each part of the loss.

    Attributes:
        bce: Cross-entropy of the masks of present phrases.
        dice: Dice loss of the masks of present phrases.
        absent: Cross-entropy of the masks of absent phrases, which should be empty.
        iou: Error of the predicted IoU.
        presence: Cross-entropy of the presence score.
    """

    bce: float = 1.0
    dice: float = 1.0
    absent: float = 0.5
    iou: float = 0.1
    presence: float = 0.1


def phrase_step(weights: LossWeights) -> Callable[[PhraseNetwork, PhraseBatch], Mapping[str, Tensor]]:
    """Make the objective of a recipe: its `step`."""

    def step(model: PhraseNetwork, batch: PhraseBatch) -> Mapping[str, Tensor]:
        return phrase_losses(_decode(model, batch), batch, weights)

    return step


def phrase_losses(decoded: PhraseOutput, batch: PhraseBatch, weights: LossWeights) -> dict[str, Tensor]:
    """Compare a prediction with the ground truth.

    Args:
        decoded: The prediction; masks of shape (N, hm, wm) are resized to the batch's loss grid.
        batch: N phrases.
        weights: Weights of the parts.

    Returns:
        Scalars: "loss", its parts, and "iou" of the present phrases; only "loss" has a gradient.
    """
    mask_logits = torch.nn.functional.interpolate(
        decoded.mask_logits[:, None].float(), size=batch.target.shape[-2:], mode="bilinear", align_corners=False
    )[:, 0]
    present, trust = batch.present, batch.weight
    cross_entropy = mask_bce(mask_logits, batch.target, valid=batch.valid)
    dice = dice_loss(mask_logits, batch.target, valid=batch.valid)
    iou = mask_iou(mask_logits, batch.target, valid=batch.valid)
    parts = {
        "bce": _mean(cross_entropy * trust, present),
        "dice": _mean(dice * trust, present),
        "absent": _mean(cross_entropy * trust, ~present),
        "iou_error": _mean(iou_regression_loss(decoded.iou, iou), present),
        "presence": presence_loss(decoded.presence_logit, present),
    }
    loss = (
        weights.bce * parts["bce"]
        + weights.dice * parts["dice"]
        + weights.absent * parts["absent"]
        + weights.iou * parts["iou_error"]
        + weights.presence * parts["presence"]
    )
    return {"loss": loss, **{name: part.detach() for name, part in parts.items()}, "iou": _mean(iou, present)}


def cache_phrase_features(model: PhraseNetwork, source: PhraseSource, options: CacheOptions) -> PhraseSource:
    """Fill a feature cache and return the source with features instead of images: a recipe's `cache_features`.

    Raises:
        RecipeError: The tower is trained, or the source draws crops or colors.
        OutputError: The features would take more than the limit.
    """
    cache = FeatureCache(options.root, model.image_tower, source.options.image_hw, limit_bytes=options.limit_bytes)
    cached = source.with_cache(cache)
    num_computed = cache.fill(model.image_tower, cached.views())
    logger.info("feature cache %s: %d views computed, %d were cached", cache.directory, num_computed,
                len(cached.views()) - num_computed)  # fmt: skip
    return cached


def validate_phrases(model: PhraseNetwork, source: PhraseSource) -> dict[str, float]:
    """Measure a model on the loss grid, at probability 0.5, over every item of a source once: a recipe's `validate`.

    These numbers select a checkpoint; report those of `promptseg evaluate`, which measures at the images' own size.

    Returns:
        "loss" and its parts; "iou" (mean), "iou_median", "iou_at_50" over present phrases.
    """
    totals: dict[str, float] = {}
    ious: list[Tensor] = []
    for batch in _plain_batches(source, model.device):
        decoded = _decode(model, batch)
        values = phrase_losses(decoded, batch, LossWeights())
        for name, value in values.items():
            totals[name] = totals.get(name, 0.0) + value.item() * len(batch.sample_ids)
        ious.append(_present_ious(decoded, batch))
    iou = torch.cat(ious)
    if not len(iou):
        raise RecipeError("the validation source has no phrase that is present in its images")
    means = {name: total / len(source) for name, total in totals.items()}
    return means | {
        "iou": iou.mean().item(),
        "iou_median": iou.median().item(),
        "iou_at_50": (iou > 0.5).float().mean().item(),
    }


def examine_phrases(model: PhraseNetwork, source: PhraseSource) -> Iterator[ValidationExample]:
    """Segment every target of the validation images at their own size: a recipe's `examine`."""
    segmenter = segment_with(model)
    for sample in source.samples:
        image_rgb = read_image(sample.image)
        targets = sample.with_evidence("mask")
        queries = [Query(target.phrase, (TextPrompt(target.phrase),)) for target in targets]
        answer = segmenter.segment(segmenter.encode_image(image_rgb), queries)
        for target, logits, predicted_iou in zip(targets, answer.mask_logits, answer.mask_quality, strict=True):
            truth, valid = target_mask(target, sample.size_hw), ~ignore_mask(target, sample.size_hw)
            probability = sigmoid(resize_map(logits, sample.size_hw))
            prediction = probability >= segmenter.mask_threshold
            union = np.count_nonzero((prediction | truth) & valid)
            iou = float(np.count_nonzero(prediction & truth & valid) / union) if union else 1.0
            yield ValidationExample(image_rgb, target.phrase, truth, prediction, iou, float(predicted_iou))


def _decode(model: PhraseNetwork, batch: PhraseBatch) -> Any:
    texts: Any = model.encode_texts(batch.texts)
    return model.decode(_encode(model, batch), texts, batch.image_index)


def _encode(model: PhraseNetwork, batch: PhraseBatch) -> Any:
    if batch.maps is not None:
        return model.fuse_maps([level.float() for level in batch.maps])
    assert batch.images_rgb is not None  # a batch has one or the other
    return model.encode_images(normalize_images(batch.images_rgb, model.image_tower))


def _plain_batches(source: PhraseSource, device: torch.device) -> Iterator[PhraseBatch]:
    """Yield every item of a source once, in order, with the same random choices each time."""
    for start in range(0, len(source), _VALIDATION_BATCH):
        indices = range(start, min(start + _VALIDATION_BATCH, len(source)))
        yield source.collate([source.item(index, np.random.default_rng(index)) for index in indices]).to(device)


def _present_ious(decoded: PhraseOutput, batch: PhraseBatch) -> Tensor:
    mask_logits = torch.nn.functional.interpolate(
        decoded.mask_logits[:, None].float(), size=batch.target.shape[-2:], mode="bilinear", align_corners=False
    )[:, 0]
    return mask_iou(mask_logits, batch.target, valid=batch.valid)[batch.present].cpu()


def _mean(values: Tensor, chosen: Tensor) -> Tensor:
    """Return the mean of the chosen of N values; 0 where none is chosen."""
    return (values * chosen).sum() / chosen.sum().clamp(min=1)
