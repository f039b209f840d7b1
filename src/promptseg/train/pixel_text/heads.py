"""The last few hundred parameters of the dense head, fitted on images that its pixels were not trained on.

On training images the similarity is surer than it will ever be again. From where on it is a mask, and what it tells
about presence and mask quality, is therefore learned on images kept aside.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from promptseg.data.negatives import absent_names
from promptseg.data.sample import Sample, target_mask
from promptseg.errors import DataError
from promptseg.images import read_image
from promptseg.layers.dense_text import summarize
from promptseg.models.promptseg.network import PromptSeg
from promptseg.models.promptseg.text_segmenter import EncodedImages, from_tensors

STEPS = 400
LEARNING_RATE = 0.02


@dataclass(frozen=True)
class Answers:
    """What the dense head says about P (image, phrase) pairs, on the maps of each image.

    Attributes:
        similarity: One map for each pair, (h, w).
        truth: Share of each cell that the phrase covers, (h, w); zero where it is absent.
        present: Shape (P,), bool.
        has_mask: Whether the truth is known cell by cell, shape (P,), bool; of a box only its presence is.
        detected: Logit of the surest detection, shape (P,); NaN where the image tower does not detect such things.
    """

    similarity: Sequence[Tensor]
    truth: Sequence[Tensor]
    present: Tensor
    has_mask: Tensor
    detected: Tensor


@torch.no_grad()
def collect_answers(model: PromptSeg, samples: Iterable[Sample], *, seed: int) -> Answers:
    """Ask a model for everything that is annotated, and for as many names that are known to be absent.

    Raises:
        DataError: nothing is there with a mask, or nothing is known to be absent.
    """
    rng = np.random.default_rng(seed)
    rows: list[tuple[Tensor, Tensor, bool, bool, float]] = []
    for sample in samples:
        targets = [t for t in sample.targets if t.kind != "phrase" and t.evidence != "tag"]
        missing = absent_names(sample, sorted(sample.exhaustive))
        chosen = rng.permutation(len(missing))[: max(len(targets), 1)]
        phrases = [target.phrase for target in targets] + [missing[i] for i in chosen]
        if not phrases:
            continue
        features = model.encode_image(read_image(sample.image))
        # copies, for tensors of inference mode can't take part in what is fitted
        images = from_tensors(EncodedImages, {name: value.clone() for name, value in features.items()})
        texts = model.encode_texts(phrases)
        decoded = model.decode(images, texts, torch.zeros(len(phrases), dtype=torch.int64))
        assert decoded.similarity is not None  # the model has a dense head
        for row, similarity in enumerate(decoded.similarity):
            truth = torch.zeros_like(similarity)
            present = row < len(targets)
            if present:
                mask = torch.from_numpy(target_mask(targets[row], sample.size_hw)).float()
                truth = F.interpolate(mask[None, None], size=similarity.shape, mode="area")[0, 0]
            detected = None if images.detections is None else model.detected_logit(images.detections[0], phrases[row])
            has_mask = not present or bool(targets[row].masks)
            rows.append((similarity, truth, present, has_mask, math.nan if detected is None else detected))
    if not any(present and has_mask for *_, present, has_mask, _ in rows) or all(row[2] for row in rows):
        raise DataError("heads are fitted on names that have a mask and on names that are absent: one kind is missing")
    similarities, truths, present_flags, mask_flags, detections = zip(*rows, strict=True)
    return Answers(
        similarities, truths, torch.tensor(present_flags), torch.tensor(mask_flags), torch.tensor(detections)
    )


def fit_heads(model: PromptSeg, answers: Answers, *, seed: int) -> dict[str, float]:
    """Fit `mask_shift` and `evidence` of the dense head and the config's `detection_evidence`, in place.

    The shift is searched for the highest mean IoU at probability one half; evidence is learned by gradient descent, and
    then what detections say beside it.

    Returns:
        What was chosen, and mean IoU, presence loss and error of the predicted IoU at the end.
    """
    head = model.dense
    assert head is not None  # collect_answers needed it
    torch.manual_seed(seed)
    known = answers.present & answers.has_mask
    threshold = _search_threshold(answers)
    with torch.no_grad():
        head.mask_shift.fill_(-threshold)
        pairs = zip(answers.similarity, answers.truth, strict=True)
        ious = torch.stack([_iou(head.mask_logits(similarity[None])[0] > 0, truth) for similarity, truth in pairs])
        summaries = torch.cat([summarize(similarity[None]) for similarity in answers.similarity])
    optimizer = torch.optim.Adam(head.evidence.parameters(), lr=LEARNING_RATE, weight_decay=1e-4)
    for _ in range(STEPS):
        presence, quality = head.evidence(summaries).unbind(dim=1)
        presence_loss = _balanced(
            F.binary_cross_entropy_with_logits(presence, answers.present.float(), reduction="none"), answers.present
        )
        quality_loss = F.mse_loss(quality[known], ious[known])
        optimizer.zero_grad()
        torch.autograd.backward(presence_loss + quality_loss, inputs=list(head.evidence.parameters()))
        optimizer.step()
    assert model.config.dense is not None  # it has a dense head
    evidence = _weigh_detections(presence.detach(), answers)
    model.config = replace(model.config, dense=replace(model.config.dense, detection_evidence=evidence))
    return {
        "threshold_logit": threshold,
        "iou": ious[known].mean().item(),
        "presence_loss": presence_loss.item(),
        "quality_error": quality_loss.item(),
    }


def _weigh_detections(presence_logit: Tensor, answers: Answers) -> tuple[float, float] | None:
    """Fit what the surest detection adds to the presence logits, shape (P,): (scale, shift) of its logit.

    Returns:
        None where nothing that was asked can be detected, or all of it is there, or nothing.
    """
    can_tell = ~answers.detected.isnan()
    present = answers.present[can_tell]
    if present.all() or not present.any():
        return None
    cues = torch.stack([presence_logit[can_tell], answers.detected[can_tell], torch.ones(len(present))], dim=1)
    weights = torch.tensor([1.0, 0.0, 0.0], requires_grad=True)
    optimizer = torch.optim.LBFGS([weights], max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> float:
        optimizer.zero_grad()
        losses = F.binary_cross_entropy_with_logits(cues @ weights, present.float(), reduction="none")
        loss = _balanced(losses, present)
        torch.autograd.backward(loss)
        return loss.item()

    optimizer.step(closure)
    own, detected, shift = weights.tolist()
    # the presence logit keeps its scale: names that can't be detected are judged by it alone
    return (detected / own, shift / own) if own > 0.0 else None


def _search_threshold(answers: Answers) -> float:
    """Find from which similarity on a cell is the object's: where mean IoU is highest, and of equal ones the lowest."""
    edges = torch.linspace(-12.0, 6.0, 73)
    curves = []
    known = answers.present & answers.has_mask
    for similarity, truth, is_known in zip(answers.similarity, answers.truth, known.tolist(), strict=True):
        if not is_known:
            continue
        level = torch.bucketize(similarity, edges)  # cells above edge i have a level above i
        target = truth > 0.5
        hits = _count_above(level[target], len(edges))
        everything = _count_above(level.flatten(), len(edges))
        curves.append(hits / (everything + target.sum() - hits).clamp_min(1.0))
    return edges[torch.stack(curves).mean(dim=0).argmax()].item()


def _count_above(levels: Tensor, num_edges: int) -> Tensor:
    """Count, for each edge, the cells whose level lies above it; shape (num_edges,)."""
    counts = torch.bincount(levels, minlength=num_edges + 1)
    return counts.flip(0).cumsum(0).flip(0)[1:].float()


def _iou(mask: Tensor, truth: Tensor) -> Tensor:
    """IoU of a mask and a share of cells, both (h, w); 0 where both are empty."""
    target = truth > 0.5
    return (mask & target).sum() / (mask | target).sum().clamp_min(1)


def _balanced(losses: Tensor, present: Tensor) -> Tensor:
    """Mean of the mean over present and the mean over absent pairs."""
    return 0.5 * (losses[present].mean() + losses[~present].mean())
