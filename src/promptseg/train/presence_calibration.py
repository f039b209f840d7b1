"""Calibration of mask threshold, presence and predicted IoU on images that were not trained on.

Similarities are overconfident on training images. The mask threshold and the few hundred parameters that predict
presence and mask quality from the similarity are therefore fitted on a held-out calibration set.

Shapes: P (image, phrase) pairs, h w cells.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from promptseg.data.negatives import absent_names
from promptseg.data.sample import Sample, target_mask
from promptseg.errors import DataError
from promptseg.images import read_image
from promptseg.language.reading import PhraseReader
from promptseg.layers.pixel_text import summarize
from promptseg.models.promptseg.coarse import detected_logit
from promptseg.models.promptseg.network import PromptSegNetwork
from promptseg.train.batch import move_tensors
from promptseg.train.config import TrainConfig
from promptseg.train.fit import fit_model
from promptseg.train.pixel_text.encoding import encode_image

EVIDENCE_CONFIG = TrainConfig(
    steps=400, batch_size=1, learning_rate=0.02, final_lr_ratio=1.0, weight_decay=0.0, clip_norm=1e9
)
L2_PENALTY = (
    1e-4  # on the weights of `evidence`, as Adam's weight decay adds it to the gradient; AdamW's is another one
)
THRESHOLDS = torch.linspace(-12.0, 6.0, 73)  # logits that are tried


@dataclass(frozen=True)
class CalibrationPairs:
    """Predictions of the pixel-text head for P (image, phrase) pairs, with the ground truth.

    Attributes:
        similarity: One map for each pair, (h, w).
        truth: Share of each cell that the phrase covers, (h, w); zero where it is absent.
        present: Whether the phrase is present, shape (P,), bool.
        has_mask: Whether the truth is known for each cell, shape (P,), bool; a box only gives presence.
        detected: Logit of the highest detection score, shape (P,); NaN where the image tower has no such class.
    """

    similarity: Sequence[Tensor]
    truth: Sequence[Tensor]
    present: Tensor
    has_mask: Tensor
    detected: Tensor


@torch.no_grad()
def collect_pairs(model: PromptSegNetwork, samples: Iterable[Sample], *, seed: int) -> CalibrationPairs:
    """Segment every annotated name, and as many names that are known to be absent.

    Args:
        model: A model with a pixel-text head.
        samples: The held-out calibration set.
        seed: Seed of the choice of absent names.

    Raises:
        DataError: No name has a mask, or none is known to be absent.
        ImageError: An image can't be read.
    """
    rng = np.random.default_rng(seed)
    reader = PhraseReader(model.image_tower.detected_names)
    least_score = model.config.settings.detection.least_evidence_score
    rows: list[tuple[Tensor, Tensor, bool, bool, float]] = []
    for sample in samples:
        targets = [t for t in sample.targets if t.kind != "phrase" and t.evidence != "tag"]
        missing = absent_names(sample, sorted(sample.exhaustive))
        chosen = rng.permutation(len(missing))[: max(len(targets), 1)]
        phrases = [target.phrase for target in targets] + [missing[i] for i in chosen]
        if not phrases:
            continue
        images = encode_image(model, read_image(sample.image))
        texts = model.encode_texts(phrases)
        decoded = model.decode(images, texts, torch.zeros(len(phrases), dtype=torch.int64))
        for row, similarity in enumerate(decoded.similarity):
            truth = torch.zeros_like(similarity)
            present = row < len(targets)
            if present:
                mask = torch.from_numpy(target_mask(targets[row], sample.size_hw)).float()
                truth = F.interpolate(mask[None, None], size=similarity.shape, mode="area")[0, 0]
            detected = None
            if images.detections is not None:
                found = images.detections[0].cpu().numpy()
                detected = detected_logit(found, reader.read(phrases[row]), least_score=least_score)
            has_mask = not present or bool(targets[row].masks)
            rows.append((similarity, truth, present, has_mask, math.nan if detected is None else detected))
    if not any(present and has_mask for *_, present, has_mask, _ in rows) or all(row[2] for row in rows):
        raise DataError("calibration needs names that have a mask and names that are absent: one kind is missing")
    similarities, truths, present_flags, mask_flags, detections = zip(*rows, strict=True)
    return CalibrationPairs(
        similarities, truths, torch.tensor(present_flags), torch.tensor(mask_flags), torch.tensor(detections)
    )


def calibrate_head(
    model: PromptSegNetwork, pairs: CalibrationPairs, *, config: TrainConfig = EVIDENCE_CONFIG
) -> dict[str, float]:
    """Fit `mask_shift` and `evidence` of the pixel-text head and the config's `detection_evidence`, in place.

    The shift is the one with the highest mean IoU at probability 0.5. Then `evidence` is trained on all pairs at once,
    and the weight of detections is fitted to its presence logits.

    Args:
        model: A model with a pixel-text head.
        pairs: From `collect_pairs`.
        config: Numbers of the training of `evidence`; one step has one item, the whole set.

    Returns:
        The chosen threshold; mean IoU, presence loss and squared error of the predicted IoU at the end.
    """
    head = model.dense
    known = pairs.present & pairs.has_mask
    threshold = _search_threshold(pairs)
    with torch.no_grad():
        head.mask_shift.fill_(-threshold)
        maps = zip(pairs.similarity, pairs.truth, strict=True)
        ious = torch.stack([_iou(head.mask_logits(similarity[None])[0] > 0, truth) for similarity, truth in maps])
        summaries = torch.cat([summarize(similarity[None]) for similarity in pairs.similarity])
    batch = EvidenceBatch(summaries, pairs.present, known, ious)
    fit_model(model, EvidenceSource(batch), evidence_step, config, trainable=("dense.evidence.",))
    with torch.no_grad():
        losses = evidence_step(model, batch)
        presence_logit = head.evidence(summaries)[:, 0]
    evidence = _weigh_detections(presence_logit, pairs)
    model.config = replace(model.config, detection_evidence=evidence)
    return {
        "threshold_logit": threshold,
        "iou": ious[known].mean().item(),
        "presence_loss": losses["presence"].item(),
        "quality_error": losses["quality"].item(),
    }


@dataclass(frozen=True)
class EvidenceBatch:
    """All pairs of a calibration set.

    Attributes:
        summaries: Summary of each similarity map, shape (P, 3); see `layers.pixel_text.summarize`.
        present: Whether the phrase is present, shape (P,), bool.
        known: Whether it is present and has a mask, shape (P,), bool.
        ious: IoU of each predicted mask, shape (P,).
        sample_ids: For the error message when a loss is not finite.
    """

    summaries: Tensor
    present: Tensor
    known: Tensor
    ious: Tensor
    sample_ids: tuple[str, ...] = ("the calibration set",)

    def to(self, device: torch.device) -> Self:
        """Return the same batch with its tensors on another device."""
        return move_tensors(self, device)


@dataclass(frozen=True)
class EvidenceSource:
    """The whole calibration set as one item; a `TrainSource`."""

    batch: EvidenceBatch

    def __len__(self) -> int:
        return 1

    def item(self, index: int, rng: np.random.Generator) -> EvidenceBatch:
        """Return the set; there is no random choice."""
        return self.batch

    def collate(self, items: list[EvidenceBatch]) -> EvidenceBatch:
        """Return the only item."""
        (batch,) = items
        return batch


def evidence_step(model: PromptSegNetwork, batch: EvidenceBatch) -> Mapping[str, Tensor]:
    """Compute the balanced cross-entropy of presence and the squared error of the predicted IoU: a recipe's `step`."""
    evidence = model.dense.evidence
    presence_logit, predicted_iou = evidence(batch.summaries).unbind(dim=1)
    entropy = F.binary_cross_entropy_with_logits(presence_logit, batch.present.float(), reduction="none")
    presence = _balanced(entropy, batch.present)
    quality = F.mse_loss(predicted_iou[batch.known], batch.ious[batch.known])
    penalty = 0.5 * L2_PENALTY * torch.stack([weight.square().sum() for weight in evidence.parameters()]).sum()
    return {"loss": presence + quality + penalty, "presence": presence.detach(), "quality": quality.detach()}


def _weigh_detections(presence_logit: Tensor, pairs: CalibrationPairs) -> tuple[float, float] | None:
    """Fit what the highest detection score adds to the presence logits, shape (P,): (scale, shift) of its logit.

    Returns:
        None where no pair has a detectable class, or all or none of those that have are present.
    """
    detectable = ~pairs.detected.isnan()
    present = pairs.present[detectable]
    if present.all() or not present.any():
        return None
    inputs = torch.stack([presence_logit[detectable], pairs.detected[detectable], torch.ones(len(present))], dim=1)
    weights = torch.tensor([1.0, 0.0, 0.0], requires_grad=True)
    optimizer = torch.optim.LBFGS([weights], max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> float:
        optimizer.zero_grad()
        losses = F.binary_cross_entropy_with_logits(inputs @ weights, present.float(), reduction="none")
        loss = _balanced(losses, present)
        torch.autograd.backward(loss)
        return loss.item()

    optimizer.step(closure)
    own, detected, shift = weights.tolist()
    # the presence logit keeps its scale: for names that can't be detected it is the only evidence
    return (detected / own, shift / own) if own > 0.0 else None


def _search_threshold(pairs: CalibrationPairs) -> float:
    """Return the similarity threshold with the highest mean IoU; of equal ones the lowest."""
    edges = THRESHOLDS
    curves = []
    known = pairs.present & pairs.has_mask
    for similarity, truth, is_known in zip(pairs.similarity, pairs.truth, known.tolist(), strict=True):
        if not is_known:
            continue
        level = torch.bucketize(similarity, edges)  # cells above edge i have a level above i
        target = truth > 0.5
        hits = _count_above(level[target], len(edges))
        predicted = _count_above(level.flatten(), len(edges))
        curves.append(hits / (predicted + target.sum() - hits).clamp_min(1.0))
    return edges[torch.stack(curves).mean(dim=0).argmax()].item()


def _count_above(levels: Tensor, num_edges: int) -> Tensor:
    """Count, for each edge, the cells whose level lies above it; shape (num_edges,)."""
    counts = torch.bincount(levels, minlength=num_edges + 1)
    return counts.flip(0).cumsum(0).flip(0)[1:].float()


def _iou(mask: Tensor, truth: Tensor) -> Tensor:
    """Return the IoU of a mask and a share of cells, both (h, w); 0 where both are empty."""
    target = truth > 0.5
    return (mask & target).sum() / (mask | target).sum().clamp_min(1)


def _balanced(losses: Tensor, present: Tensor) -> Tensor:
    """Return the mean of the mean over present and the mean over absent pairs."""
    return 0.5 * (losses[present].mean() + losses[~present].mean())
