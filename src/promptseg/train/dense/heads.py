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
from promptseg.layers.dense_text import summarise
from promptseg.models.promptseg import PromptSeg
from promptseg.models.text_segmenter import EncodedImages, from_tensors

STEPS = 400
LEARNING_RATE = 0.02
COMPETITION_WEIGHTS = (0.0, 0.25, 0.5, 1.0, 1.5, 2.0, 3.0)


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

    Mask weights are searched for the highest mean IoU at probability one half; evidence is learned by gradient descent.

    Returns:
        What was chosen, and mean IoU, presence loss and error of the predicted IoU at the end.
    """
    head = model.dense
    assert head is not None  # collect_answers needed it
    torch.manual_seed(seed)
    known = answers.present & answers.has_mask
    weight, threshold = _search_mask_weights(answers)
    with torch.no_grad():
        head.mask_weights.copy_(torch.tensor([1.0, weight, -threshold]))
        maps = list(zip(answers.similarity, answers.competition, strict=True))
        ious = torch.stack(
            [
                _iou(head.mask_logits(s[None], c[None])[0] > 0, truth)
                for (s, c), truth in zip(maps, answers.truth, strict=True)
            ]
        )
        summaries = torch.cat([summarise(s[None], c[None]) for s, c in maps])
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
    return {
        "competition_weight": weight,
        "threshold_logit": threshold,
        "iou": ious[known].mean().item(),
        "presence_loss": presence_loss.item(),
        "quality_error": quality_loss.item(),
    }


def _search_mask_weights(answers: Answers) -> tuple[float, float]:
    """Find how much the competition counts beside the similarity, and from which logit on a cell is the object's."""
    edges = torch.linspace(-12.0, 6.0, 73)
    best = (-1.0, 0.0, 0.0)  # mean IoU, minus the weight (the simpler wins a tie), threshold
    for weight in COMPETITION_WEIGHTS:
        curves = []
        for similarity, competition, truth, present, has_mask in _pairs(answers):
            if not (present and has_mask):
                continue
            level = torch.bucketize(similarity + weight * competition, edges)  # cells above edge i have a level above i
            target = truth > 0.5
            hits = _count_above(level[target], len(edges))
            everything = _count_above(level.flatten(), len(edges))
            curves.append(hits / (everything + target.sum() - hits).clamp_min(1.0))
        mean = torch.stack(curves).mean(dim=0)
        place = int(mean.argmax())
        best = max(best, (float(mean[place]), -weight, float(edges[place])))
    return -best[1], best[2]


def _count_above(levels: Tensor, num_edges: int) -> Tensor:
    """Count, for each edge, the cells whose level lies above it; shape (num_edges,)."""
    counts = torch.bincount(levels, minlength=num_edges + 1)
    return counts.flip(0).cumsum(0).flip(0)[1:].float()


def _iou(mask: Tensor, truth: Tensor) -> Tensor:
    """IoU of a mask and a share of cells, both (h, w); 0 where both are empty."""
    target = truth > 0.5
    return (mask & target).sum() / (mask | target).sum().clamp_min(1)


def _pairs(answers: Answers) -> Iterable[tuple[Tensor, Tensor, Tensor, bool, bool]]:
    flags = (answers.present.tolist(), answers.has_mask.tolist())
    return zip(answers.similarity, answers.competition, answers.truth, *flags, strict=True)


def _balanced(losses: Tensor, present: Tensor) -> Tensor:
    """Mean of the mean over present and the mean over absent pairs."""
    return 0.5 * (losses[present].mean() + losses[~present].mean())
