"""The objective of the dense head: each pixel's embedding near its names, far from the others.

Terms, each a mean over what is known:
    choice    softmax over the batch's names at labeled cells: the cell's names against all that are absent from it
    mask      sigmoid per (image, name): balanced cross-entropy and Dice where the mask is known
    absence   cross-entropy for names that are not there, the hardest and some at random
    presence  the same two for one number a crop: its loudest cells
    tag       softmax over names for images that have one object and no mask: its best cells must choose its name

Papers: LSeg (arXiv:2201.03546) for the choice; SigLIP (arXiv:2303.15343) for sigmoid beside softmax.

Shapes: B images, N names in the batch, E embedding, S cells of a crop, M pairs of an image and a name.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from promptseg.language.phrases import THING_TEMPLATES, fill
from promptseg.layers.dense_text import DenseTextHead
from promptseg.models.promptseg.network import PromptSeg
from promptseg.train.pixel_text.batches import COVERED, DenseBatch

NEVER = -1e4  # a logit that leaves the softmax
TAG_SHARE = 0.12  # share of the cells that speak for a tag
CHOICE_CELLS = 400  # labeled cells of a crop that take part in the choice


@dataclass(frozen=True)
class DenseObjective:
    """Loss of a batch of crops under a model with a dense head.

    Attributes:
        name_vectors: The text tower's pooled vectors of every name in several wordings, shape (V, W, C).
        text_noise: Standard deviation of the noise on those vectors; names nearby shall mean the same.
        num_hard: Absent names of each image that look most present.
        num_random: Absent names of each image drawn at random.
    """

    name_vectors: Tensor
    text_noise: float = 0.012
    num_hard: int = 12
    num_random: int = 12

    def __call__(self, model: PromptSeg, batch: DenseBatch) -> dict[str, Tensor]:
        """Compute the loss and its parts, scalars."""
        pixels = model.encode_images(batch.pixels).pixel_embedding
        assert model.dense is not None and pixels is not None  # recipes build the model with a dense head
        return self.judge(model.dense, pixels, batch)

    def judge(self, head: DenseTextHead, pixel_embedding: Tensor, batch: DenseBatch) -> dict[str, Tensor]:
        """Compute the loss and its parts, scalars, from the pixels' embedding, shape (B, E, s, s)."""
        texts = head.embed_texts(self._word(batch.name_ids))
        cells = pixel_embedding.flatten(2)
        with torch.autocast(cells.device.type, enabled=False):
            parts = {
                **self._mask_losses(head, cells, texts, batch),
                "choice": _choice_loss(head, cells, texts, batch),
                "tag": 0.5 * _tag_loss(head, cells, texts, batch),
            }
        return {"loss": torch.stack(list(parts.values())).sum(), **parts}

    def _word(self, name_ids: Tensor) -> Tensor:
        """Take each name in one of its wordings, with noise, shape (N, C)."""
        vectors = self.name_vectors.to(name_ids.device)[name_ids]
        wording = torch.randint(vectors.shape[1], (len(vectors),), device=vectors.device)
        chosen = vectors[torch.arange(len(vectors), device=vectors.device), wording]
        return chosen + self.text_noise * torch.randn_like(chosen)

    def _mask_losses(self, head: DenseTextHead, cells: Tensor, texts: Tensor, batch: DenseBatch) -> dict[str, Tensor]:
        images, names, is_present = self._choose_pairs(cells, texts, batch)
        logits = torch.cat(
            [texts[names[images == row]] @ one for row, one in enumerate(cells)]
        )  # pairs are in the order of their images
        logits = head.log_scale.exp() * logits + head.bias
        target = batch.maps[images, names].flatten(1) * is_present[:, None]
        valid = batch.valid.flatten(1)[images]
        weight = torch.where(is_present, batch.present[images, names], batch.absent[images, names])
        entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none") * valid
        num_valid = valid.sum(1).clamp_min(1.0)

        inside = (target * entropy).sum(1) / (target.sum(1) + 4.0)
        outside = ((1.0 - target) * entropy).sum(1) / num_valid
        probability = logits.sigmoid() * valid
        overlap = 2.0 * (probability * target).sum(1) + 2.0
        dice = 1.0 - overlap / (probability.sum(1) + (target * valid).sum(1) + 2.0)
        # one number for the whole crop, as inference reads presence: its loudest cells
        loudest = torch.logsumexp(logits - 50.0 * (1.0 - valid), dim=1) - torch.log(torch.tensor(16.0))

        there, missing = weight * is_present, weight * ~is_present
        num_there, num_missing = there.sum().clamp_min(1.0), missing.sum().clamp_min(1.0)
        presence = (there * F.softplus(-loudest)).sum() / num_there + (
            missing * F.softplus(loudest)
        ).sum() / num_missing
        return {
            "mask": (there * (inside + 3.0 * outside)).sum() / num_there,
            "dice": (there * dice).sum() / num_there,
            "absence": 3.0 * (missing * entropy.sum(1) / num_valid).sum() / num_missing,
            "presence": 0.3 * presence,
        }

    def _choose_pairs(self, cells: Tensor, texts: Tensor, batch: DenseBatch) -> tuple[Tensor, Tensor, Tensor]:
        """Choose (image, name) pairs: every known mask, and absent names; sorted by image.

        Returns:
            Images and names, each of shape (M,), int64, and whether the name is there, shape (M,), bool.
        """
        with torch.no_grad():
            loudness = (texts @ cells[:, :, ::4]).amax(dim=2)
            hard = (
                loudness.masked_fill(batch.absent <= 0, -2.0).topk(min(self.num_hard, loudness.shape[1]), dim=1).indices
            )
            chance = torch.multinomial(batch.absent + 1e-9, min(self.num_random, loudness.shape[1]))
        absent = torch.zeros_like(batch.absent, dtype=torch.bool).scatter_(1, torch.cat([hard, chance], dim=1), True)
        absent &= batch.absent > 0
        present = batch.present > 0
        images, names = (present | absent).nonzero(as_tuple=True)
        return images, names, present[images, names]


def _choice_loss(head: DenseTextHead, cells: Tensor, texts: Tensor, batch: DenseBatch) -> Tensor:
    """Cross-entropy between the names of a cell and the names that are absent from it, over sampled labeled cells.

    Cells are drawn by one over the root of their object's size, so that small objects are heard.
    """
    covered = (batch.maps > COVERED) & (batch.present > 0)[:, :, None, None]
    elsewhere = (batch.maps < 0.05) & (batch.present > 0)[:, :, None, None]
    size = covered.flatten(2).sum(2)
    importance = (covered * (batch.present / (size + 6.0).sqrt())[:, :, None, None]).amax(1) * (batch.valid > COVERED)
    losses = []
    for row, one in enumerate(cells):
        chances = importance[row].flatten()
        num_labeled = int((chances > 0).sum())
        if not num_labeled:
            continue
        drawn = torch.multinomial(chances, min(num_labeled, CHOICE_CELLS))
        logits = head.log_scale.exp() * (one[:, drawn].T @ texts.T)
        right = covered[row].flatten(1)[:, drawn].T
        rivals = elsewhere[row].flatten(1)[:, drawn].T | (batch.absent[row] > 0)
        losses.append(_cross_entropy(logits, right, rivals).mean())
    return torch.stack(losses).mean() if losses else cells.new_zeros(())


def _tag_loss(head: DenseTextHead, cells: Tensor, texts: Tensor, batch: DenseBatch) -> Tensor:
    """Cross-entropy of whole crops for images whose only object has a name and no mask; a mean over the batch."""
    losses = [cells.new_zeros(())]
    for row in batch.tags.any(dim=1).nonzero().flatten():
        logits = head.log_scale.exp() * (texts @ cells[row])
        best = logits.topk(max(1, int(TAG_SHARE * logits.shape[1])), dim=1).values.mean(1)
        losses.append(_cross_entropy(best[None], batch.tags[row][None], (batch.absent[row] > 0)[None])[0])
    return torch.stack(losses).sum() / len(cells)


def _cross_entropy(logits: Tensor, right: Tensor, rivals: Tensor) -> Tensor:
    """Softmax cross-entropy with several right answers: -log of their share among right answers and rivals.

    Args:
        logits: Shape (P, N).
        right: Shape (P, N), bool; at least one in each row.
        rivals: Shape (P, N), bool; what is neither right nor rival is left out.

    Returns:
        Shape (P,).
    """
    everything = torch.logsumexp(logits.masked_fill(~(right | rivals), NEVER), dim=1)
    return everything - torch.logsumexp(logits.masked_fill(~right, NEVER), dim=1)


@torch.no_grad()
def read_names(model: PromptSeg, names: Sequence[str]) -> Tensor:
    """Give the text tower's pooled vectors of V names in each of W templates, shape (V, W, C)."""
    rows = [
        torch.cat(
            [model.read_texts([fill(t, n) for n in names[i : i + 128]]).pooled for i in range(0, len(names), 128)]
        )
        for t in THING_TEMPLATES
    ]
    return torch.stack(rows, dim=1).float()
