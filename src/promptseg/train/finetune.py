"""Fine-tuning of the default model on a small folder: the towers stay frozen, the layers above them are trained.

The towers encode some crops of each image once; their maps stay in memory. The neck and the layers that bring pixels
and texts into one space are trained on these maps for the folder's names, while the logits of everyday names are held
near their values before. Some images are not trained on and select the shift of the mask logits.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from promptseg._wording import counted
from promptseg.data.sample import Sample, target_mask
from promptseg.errors import DataError, RecipeError
from promptseg.images import read_image
from promptseg.language.class_names import COCO_THINGS
from promptseg.layers.neck import FUSED_STRIDE
from promptseg.layers.pixel_text import PixelTextHead
from promptseg.models.build import Network
from promptseg.models.promptseg.network import PromptSegNetwork
from promptseg.models.registry import segment_with
from promptseg.prompts import Query, TextPrompt
from promptseg.train.config import TrainConfig
from promptseg.train.encoded_crops import EncodedCropBatch, encode_crops
from promptseg.train.fit import fit_model
from promptseg.train.pixel_text.batches import PixelTextSettings, PixelTextSource
from promptseg.train.pixel_text.objective import PixelTextObjective, embed_names
from promptseg.train.pixel_text.vocabulary import Vocabulary, collect_vocabulary

# Prefixes of the trained parameters with their factor on the learning rate; the rest of the model stays.
FITTED = {"neck.": 0.2, "dense.pixel_projection.": 1.0, "dense.text_": 1.0, "dense.log_scale": 1.0, "dense.bias": 1.0}
CROP_SHARE = 0.625  # of the longest side at inference, as in the training of the default model
WEIGHT_DECAY = 0.02
WARMUP_SHARE = 0.3  # of the steps, as in PyTorch's OneCycleLR
NO_CLIPPING = 1e9
LOGIT_SHIFTS = torch.linspace(-2.0, 2.0, 17)
MIN_GAIN = 0.005  # in mean IoU; a smaller gain is within the noise


@dataclass(frozen=True, kw_only=True)
class FinetuneSettings:
    """Numbers of a fine-tuning.

    Attributes:
        steps: Updates.
        batch_size: Crops in an update.
        learning_rate: Peak of the schedule.
        crops: Mean number of crops of each image; the towers encode each once.
        max_crops: Most crops altogether; one takes about 1 MB of memory with the default model.
        keep_weight: Weight of the loss that keeps the logits of everyday names.
        one_in: One of this many images is held out for the report, and one of this many of the rest for the shift.
        seed: Seed of crops, order and wording.
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
    """The images of a folder by use.

    Attributes:
        train: Trained on.
        choose: Select the shift of the mask logits.
        held_out: Not used; for the report.
    """

    train: tuple[Sample, ...]
    choose: tuple[Sample, ...]
    held_out: tuple[Sample, ...]


@dataclass(frozen=True)
class Fitted:
    """The result of a fine-tuning.

    Attributes:
        losses: Loss of each step.
        logit_shift: Added to every mask logit, selected on images that were not trained on; 0 where none helped.
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
            f"{counted(len(samples))} with a mask is too little: fine-tuning needs one to train on and one to evaluate "
            "on"
        )
    ranked = sorted(samples, key=lambda sample: hashlib.sha256(sample.sample_id.encode()).digest())
    num_held_out = max(1, round(len(ranked) / one_in))
    rest = ranked[num_held_out:]
    num_choose = len(rest) // one_in
    return Parts(tuple(rest[num_choose:]), tuple(rest[:num_choose]), tuple(ranked[:num_held_out]))


def check_model(model: Network) -> PromptSegNetwork:
    """Return the model if this way of fine-tuning fits it.

    Raises:
        RecipeError: It is of another architecture than the default model.
    """
    if isinstance(model, PromptSegNetwork):
        return model
    raise RecipeError(
        "only the default model and its variants can be fine-tuned like this; "
        "for others write a recipe: docs/training.md"
    )


def finetune(
    model: PromptSegNetwork,
    parts: Parts,
    settings: FinetuneSettings,
    *,
    watch: Callable[[float], None] | None = None,
    run_dir: Path | None = None,
    resume: bool = False,
) -> Fitted:
    """Fine-tune a model on images, in place.

    Args:
        model: From `check_model`.
        parts: Images; those held out are not used.
        settings: Numbers.
        watch: Called with the loss after each step.
        run_dir: Directory for the log and the state of the run; None: a temporary one.
        resume: Continue the run in `run_dir`.

    Raises:
        DataError: No image has a mask.
        ImageError: An image can't be read.
        OutputError: `run_dir` can't be written, or it already holds a run and `resume` is not set.
        CheckpointError: `resume` is set and there is no run, or another run.
        TrainingError: A loss is not finite.
    """
    model.eval().requires_grad_(False)
    source = _build_source(model, parts.train, settings)
    _add_trained_names(model, source.vocabulary.names)
    crops = encode_crops(model, source, batch_size=settings.batch_size, seed=settings.seed)
    step = FinetuneStep(
        objective=PixelTextObjective(embed_names(model, source.vocabulary.names)),
        everyday=_LogitReference(model.dense, embed_names(model, _unrelated_names(source.vocabulary))[:, 0]),
        keep_weight=settings.keep_weight,
    )
    losses = fit_model(
        model,
        crops,
        step,
        _train_config(settings, num_crops=len(crops)),
        trainable=tuple(FITTED),
        run_dir=run_dir,
        resume=resume,
        on_step=watch,
    )
    return Fitted(losses, _shift_masks(model, parts.choose))


def label_as_names(samples: Sequence[Sample]) -> list[Sample]:
    """Mark a folder's phrases as names of things, and those with a black mask as annotated completely."""
    return [
        replace(
            sample,
            targets=tuple(replace(target, kind="thing") for target in sample.targets),
            exhaustive=frozenset(sample.absent),
        )
        for sample in samples
    ]


class FinetuneStep:
    """The objective: the folder's names are learned, the logits of everyday names are kept.

    Args:
        objective: Loss of the folder's names.
        everyday: Logits of everyday names before fine-tuning.
        keep_weight: Weight of their change.
    """

    def __init__(self, objective: PixelTextObjective, everyday: "_LogitReference", keep_weight: float) -> None:
        self.objective, self.everyday, self.keep_weight = objective, everyday, keep_weight

    def __call__(self, model: PromptSegNetwork, batch: EncodedCropBatch) -> Mapping[str, Tensor]:
        """Compute the loss and its parts, scalars."""
        pixels = model.fuse_maps([level.float() for level in batch.maps]).pixel_embedding
        losses = self.objective.losses(model.dense, pixels, batch.labels)
        change = self.everyday.change(model.dense, pixels, batch.embedding.to(pixels))
        return {**losses, "change": change.detach(), "loss": losses["loss"] + self.keep_weight * change}


class _LogitReference:
    """The logits of some names before fine-tuning, which the loss keeps.

    Args:
        head: The head before fine-tuning.
        pooled: The text tower's pooled vectors of the names, shape (K, C).
    """

    @torch.no_grad()
    def __init__(self, head: PixelTextHead, pooled: Tensor) -> None:
        self._pooled, self._texts = pooled, head.embed_texts(pooled)
        self._scale, self._bias = head.log_scale.exp().clone(), head.bias.clone()

    def change(self, head: PixelTextHead, pixels: Tensor, reference: Tensor) -> Tensor:
        """Return the mean squared change of the logits at pixels, now and before, each of shape (B, E, s, s)."""
        before = self._scale * torch.einsum("ke,behw->bkhw", self._texts, reference) + self._bias
        now = head.log_scale.exp() * torch.einsum("ke,behw->bkhw", head.embed_texts(self._pooled), pixels) + head.bias
        return F.mse_loss(now, before)


def _build_source(model: PromptSegNetwork, samples: Sequence[Sample], settings: FinetuneSettings) -> PixelTextSource:
    samples = label_as_names(samples)
    vocabulary = collect_vocabulary(samples)
    config, tower = model.config, model.image_tower
    return PixelTextSource(
        samples=samples,
        vocabulary=vocabulary,
        set_weights={},
        always_included=vocabulary.names,
        stuff=(),
        num_items=min(settings.crops * len(samples), settings.max_crops),
        settings=PixelTextSettings(
            side=max(1, round(CROP_SHARE * config.image_size / tower.multiple)) * tower.multiple,
            stride=FUSED_STRIDE if config.fine_stride is None else config.fine_stride,
            reference_side=config.image_size,
        ),
    )


def _train_config(settings: FinetuneSettings, *, num_crops: int) -> TrainConfig:
    batch_size = min(settings.batch_size, num_crops)
    steps_per_epoch = max(1, num_crops // batch_size)
    return TrainConfig(
        steps=settings.steps,
        batch_size=batch_size,
        learning_rate=settings.learning_rate,
        lr_multipliers={prefix: factor for prefix, factor in FITTED.items() if factor != 1.0},
        weight_decay=WEIGHT_DECAY,
        warmup_epochs=WARMUP_SHARE * settings.steps / steps_per_epoch,
        clip_norm=NO_CLIPPING,
        seed=settings.seed,
    )


def _add_trained_names(model: PromptSegNetwork, names: Sequence[str]) -> None:
    """Add names to the trained ones, so that they no longer use their hypernyms."""
    if model.config.trained_names:
        trained = tuple(sorted({*model.config.trained_names, *names}))
        model.config = replace(model.config, trained_names=trained)


def _unrelated_names(vocabulary: Vocabulary) -> list[str]:
    """Return the everyday names that are not related to any of the folder's names."""
    both = Vocabulary(tuple(sorted({*vocabulary.names, *COCO_THINGS})))
    related = np.any([both.may_coincide(index) for index in both.find(vocabulary.names)], axis=0)
    return [name for name, is_related in zip(both.names, related, strict=True) if not is_related]


@torch.no_grad()
def _shift_masks(model: PromptSegNetwork, samples: Sequence[Sample]) -> float:
    """Shift the mask logits by the value with the best mean IoU on images, if the gain is large enough; return it."""
    head = model.dense
    segmenter = segment_with(model)
    threshold = torch.tensor(model.config.mask_threshold).logit()
    curves = []
    for sample in samples:
        targets = sample.with_evidence("mask")
        queries = [Query(target.phrase, (TextPrompt(target.phrase),)) for target in targets]
        prediction = segmenter.segment(segmenter.encode_image(read_image(sample.image)), queries)
        for target, logits in zip(targets, torch.from_numpy(prediction.mask_logits), strict=True):
            truth = torch.from_numpy(target_mask(target, sample.size_hw)).float()
            covered = F.interpolate(truth[None, None], size=logits.shape, mode="area")[0, 0].to(logits) > 0.5
            masks = logits + LOGIT_SHIFTS[:, None, None].to(logits) > threshold
            union = (masks | covered).sum((1, 2)).clamp_min(1)
            curves.append((masks & covered).sum((1, 2)) / union)
    if not curves:
        return 0.0
    mean = torch.stack(curves).mean(dim=0)
    best = int(mean.argmax())
    if mean[best] < mean[len(LOGIT_SHIFTS) // 2] + MIN_GAIN:
        return 0.0
    shift = LOGIT_SHIFTS[best].item()
    head.mask_shift.add_(shift)
    return shift
