"""The objective of the pixel-text head: the embedding of a pixel is near its names and far from the others.

Terms, each a mean over known (image, name) pairs or labeled cells:
    choice    softmax over the batch's names at labeled cells: the cell's names against all that are absent from it
    mask      sigmoid per (image, name): balanced cross-entropy; dice: Dice loss; both where the mask is known
    absence   cross-entropy of absent names, the hardest and some at random
    presence  cross-entropy of one presence logit per (image, name): the log-sum-exp of its cells
    tag       softmax over names for images with one object and no mask: the best cells must choose its name

Papers: LSeg (arXiv:2201.03546) for the choice; SigLIP (arXiv:2303.15343) for sigmoid beside softmax.

Shapes: B images, N names in the batch, V names of the vocabulary, E embedding, S cells of a crop, M pairs of an image
and a name.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from promptseg.language.phrases import THING_TEMPLATES, fill
from promptseg.layers.pixel_text import PixelTextHead
from promptseg.models.promptseg.network import PromptSegNetwork
from promptseg.train.batch import normalize_images
from promptseg.train.pixel_text.batches import COVERED, PixelTextBatch

MASKED_LOGIT = -1e4  # takes a name out of the softmax
TAG_SHARE = 0.12  # share of the cells that a tag is read from
CHOICE_CELLS = 400  # most labeled cells of a crop in the choice loss


@dataclass(frozen=True)
class PixelTextObjective:
    """Loss of a batch of crops for a model with a pixel-text head.

    Attributes:
        name_vectors: The text tower's pooled vectors of every name in W wordings, shape (V, W, C).
        text_noise: Standard deviation of the noise on those vectors, so that nearby vectors get the same meaning.
        num_hard: Number of absent names of each image with the highest similarity.
        num_random: Number of absent names of each image that are drawn at random.
    """

    name_vectors: Tensor
    text_noise: float = 0.012
    num_hard: int = 12
    num_random: int = 12

    def __call__(self, model: PromptSegNetwork, batch: PixelTextBatch) -> dict[str, Tensor]:
        """Compute the loss and its parts, scalars."""
        pixels = model.encode_images(normalize_images(batch.images_rgb, model.image_tower)).pixel_embedding
        return self.losses(model.dense, pixels, batch)

    def losses(self, head: PixelTextHead, pixel_embedding: Tensor, batch: PixelTextBatch) -> dict[str, Tensor]:
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
        """Draw one wording of each name and add noise, shape (N, C)."""
        vectors = self.name_vectors.to(name_ids.device)[name_ids]
        wording = torch.randint(vectors.shape[1], (len(vectors),), device=vectors.device)
        chosen = vectors[torch.arange(len(vectors), device=vectors.device), wording]
        return chosen + self.text_noise * torch.randn_like(chosen)

    def _mask_losses(
        self, head: PixelTextHead, cells: Tensor, texts: Tensor, batch: PixelTextBatch
    ) -> dict[str, Tensor]:
        images, names, is_present = self._choose_pairs(cells, texts, batch)
        logits = torch.cat(
            [texts[names[images == row]] @ one for row, one in enumerate(cells)]
        )  # pairs are sorted by image
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
        # one logit for the whole crop, from its highest cells, as inference predicts presence
        presence_logit = torch.logsumexp(logits - 50.0 * (1.0 - valid), dim=1) - torch.log(torch.tensor(16.0))

        present_weight, absent_weight = weight * is_present, weight * ~is_present
        num_present, num_absent = present_weight.sum().clamp_min(1.0), absent_weight.sum().clamp_min(1.0)
        presence = (present_weight * F.softplus(-presence_logit)).sum() / num_present + (
            absent_weight * F.softplus(presence_logit)
        ).sum() / num_absent
        return {
            "mask": (present_weight * (inside + 3.0 * outside)).sum() / num_present,
            "dice": (present_weight * dice).sum() / num_present,
            "absence": 3.0 * (absent_weight * entropy.sum(1) / num_valid).sum() / num_absent,
            "presence": 0.3 * presence,
        }

    def _choose_pairs(self, cells: Tensor, texts: Tensor, batch: PixelTextBatch) -> tuple[Tensor, Tensor, Tensor]:
        """Choose (image, name) pairs: every known mask, and absent names; sorted by image.

        Returns:
            Images and names, each of shape (M,), int64, and whether the name is present, shape (M,), bool.
        """
        with torch.no_grad():
            similarity = (texts @ cells[:, :, ::4]).amax(dim=2)
            hard = (
                similarity.masked_fill(batch.absent <= 0, -2.0)
                .topk(min(self.num_hard, similarity.shape[1]), dim=1)
                .indices
            )
            drawn = torch.multinomial(batch.absent + 1e-9, min(self.num_random, similarity.shape[1]))
        absent = torch.zeros_like(batch.absent, dtype=torch.bool).scatter_(1, torch.cat([hard, drawn], dim=1), True)
        absent &= batch.absent > 0
        present = batch.present > 0
        images, names = (present | absent).nonzero(as_tuple=True)
        return images, names, present[images, names]


def _choice_loss(head: PixelTextHead, cells: Tensor, texts: Tensor, batch: PixelTextBatch) -> Tensor:
    """Compute the cross-entropy of the names of a cell against the names absent from it, over sampled labeled cells.

    Cells are drawn by one over the square root of their object's size, so that small objects count.
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
        correct = covered[row].flatten(1)[:, drawn].T
        wrong = elsewhere[row].flatten(1)[:, drawn].T | (batch.absent[row] > 0)
        losses.append(_cross_entropy(logits, correct, wrong).mean())
    return torch.stack(losses).mean() if losses else cells.new_zeros(())


def _tag_loss(head: PixelTextHead, cells: Tensor, texts: Tensor, batch: PixelTextBatch) -> Tensor:
    """Compute the cross-entropy of whole crops of images whose only object has a name and no mask; mean over B."""
    losses = [cells.new_zeros(())]
    for row in batch.tags.any(dim=1).nonzero().flatten():
        logits = head.log_scale.exp() * (texts @ cells[row])
        best = logits.topk(max(1, int(TAG_SHARE * logits.shape[1])), dim=1).values.mean(1)
        losses.append(_cross_entropy(best[None], batch.tags[row][None], (batch.absent[row] > 0)[None])[0])
    return torch.stack(losses).sum() / len(cells)


def _cross_entropy(logits: Tensor, correct: Tensor, wrong: Tensor) -> Tensor:
    """Compute the softmax cross-entropy with several correct names: -log of their share among correct and wrong ones.

    Args:
        logits: Shape (P, N).
        correct: Shape (P, N), bool; at least one in each row.
        wrong: Shape (P, N), bool; a name that is neither correct nor wrong is left out.

    Returns:
        Shape (P,).
    """
    everything = torch.logsumexp(logits.masked_fill(~(correct | wrong), MASKED_LOGIT), dim=1)
    return everything - torch.logsumexp(logits.masked_fill(~correct, MASKED_LOGIT), dim=1)


@torch.no_grad()
def embed_names(model: PromptSegNetwork, names: Sequence[str]) -> Tensor:
    """Return the text tower's pooled vectors of V names in each of W templates, shape (V, W, C)."""
    rows = [
        torch.cat(
            [model.text_tower.read([fill(t, n) for n in names[i : i + 128]]).pooled for i in range(0, len(names), 128)]
        )
        for t in THING_TEMPLATES
    ]
    return torch.stack(rows, dim=1).float()
