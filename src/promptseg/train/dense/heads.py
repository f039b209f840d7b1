"""The last few hundred parameters of the dense head, fitted on pictures that its pixels were not trained on.

On training pictures the similarity is surer than it will ever be again. How far to trust it, how much the competition
of the vocabulary says, and what both tell about presence and mask quality is therefore learned on pictures kept aside.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from promptseg.data.negatives import absent_names
from promptseg.data.sample import Sample, target_mask
from promptseg.errors import DataError
from promptseg.images import read_image
from promptseg.losses import dice_loss
from promptseg.models.promptseg import PromptSeg
from promptseg.models.text_segmenter import EncodedImages, from_tensors

STEPS = 400
LEARNING_RATE = 0.02


@dataclass(frozen=True)
class Answers:
    """What the dense head says about P (picture, phrase) pairs, on the maps of each picture.

    Attributes:
        similarity: One map for each pair, (h, w).
        competition: Likewise.
        truth: Share of each cell that the phrase covers, (h, w); zero where it is absent.
        present: Shape (P,), bool.
        has_mask: Whether the truth is known cell by cell, shape (P,), bool; of a box only its presence is.
    """

    similarity: Sequence[Tensor]
    competition: Sequence[Tensor]
    truth: Sequence[Tensor]
    present: Tensor
    has_mask: Tensor


@torch.no_grad()
def collect_answers(model: PromptSeg, samples: Iterable[Sample], *, seed: int) -> Answers:
    """Ask a model for everything that is annotated, and for as many names that are known to be absent.

    Raises:
        DataError: nothing is there with a mask, or nothing is known to be absent.
    """
    rng = np.random.default_rng(seed)
    rows: list[tuple[Tensor, Tensor, Tensor, bool, bool]] = []
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
        assert decoded.similarity is not None and decoded.competition is not None  # the model has a dense head
        for row, (similarity, competition) in enumerate(zip(decoded.similarity, decoded.competition, strict=True)):
            truth = torch.zeros_like(similarity)
            present = row < len(targets)
            if present:
                mask = torch.from_numpy(target_mask(targets[row], sample.size_hw)).float()
                truth = F.interpolate(mask[None, None], size=similarity.shape, mode="area")[0, 0]
            rows.append((similarity, competition, truth, present, not present or bool(targets[row].masks)))
    if not any(present and has_mask for *_, present, has_mask in rows) or all(row[3] for row in rows):
        raise DataError("heads are fitted on names that have a mask and on names that are absent: one kind is missing")
    similarities, competitions, truths, present_flags, mask_flags = zip(*rows, strict=True)
    return Answers(similarities, competitions, truths, torch.tensor(present_flags), torch.tensor(mask_flags))


def fit_heads(model: PromptSeg, answers: Answers, *, seed: int) -> dict[str, float]:
    """Fit `mask_weights` and `evidence` of the dense head, in place.

    Returns:
        Losses at the start and at the end.
    """
    head = model.dense
    assert head is not None  # collect_answers needed it
    torch.manual_seed(seed)
    trained = [head.mask_weights, *head.evidence.parameters()]
    optimizer = torch.optim.Adam(trained, lr=LEARNING_RATE)
    known = answers.present & answers.has_mask
    history: list[dict[str, float]] = []
    for step in range(STEPS):
        if step % 10 == 0 or step == STEPS - 1:  # masks change slowly
            ious = _mask_ious(model, answers)
        mask_loss = _mask_loss(model, answers)
        presence, quality = zip(
            *(head.judge(s[None], c[None]) for s, c in zip(answers.similarity, answers.competition, strict=True)),
            strict=True,
        )
        presence_loss = _balanced(
            F.binary_cross_entropy_with_logits(torch.cat(presence), answers.present.float(), reduction="none"),
            answers.present,
        )
        quality_loss = F.mse_loss(torch.cat(quality)[known], ious[known])
        loss = mask_loss + presence_loss + quality_loss
        optimizer.zero_grad()
        torch.autograd.backward(loss, inputs=trained)
        optimizer.step()
        losses = {"mask": mask_loss, "presence": presence_loss, "quality": quality_loss, "iou": ious[known].mean()}
        history.append({name: value.item() for name, value in losses.items()})
    return {f"{name}_{when}": history[at][name] for name in history[0] for when, at in (("start", 0), ("end", -1))}


def _mask_loss(model: PromptSeg, answers: Answers) -> Tensor:
    """Balanced cross-entropy plus Dice of the present pairs with a mask; one mean over pairs."""
    head = model.dense
    assert head is not None
    losses = []
    for similarity, competition, truth, present, has_mask in _pairs(answers):
        if not (present and has_mask):
            continue
        logits = head.mask_logits(similarity[None], competition[None])
        target = truth[None]
        entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
        inside = (entropy * target).sum() / (target.sum() + 4.0)
        outside = (entropy * (1.0 - target)).mean()
        losses.append(0.5 * inside + outside + 2.0 * dice_loss(logits, target)[0])
    return torch.stack(losses).mean()


@torch.no_grad()
def _mask_ious(model: PromptSeg, answers: Answers) -> Tensor:
    """IoU of each pair's map at probability one half, shape (P,); absent pairs have 0."""
    head = model.dense
    assert head is not None
    ious = []
    for similarity, competition, truth, _, _ in _pairs(answers):
        mask, target = head.mask_logits(similarity, competition) > 0, truth > 0.5
        ious.append((mask & target).sum() / (mask | target).sum().clamp_min(1))
    return torch.stack(ious)


def _pairs(answers: Answers) -> Iterable[tuple[Tensor, Tensor, Tensor, bool, bool]]:
    flags = (answers.present.tolist(), answers.has_mask.tolist())
    return zip(answers.similarity, answers.competition, answers.truth, *flags, strict=True)


def _balanced(losses: Tensor, present: Tensor) -> Tensor:
    """Mean of the mean over present and the mean over absent pairs."""
    return 0.5 * (losses[present].mean() + losses[~present].mean())
