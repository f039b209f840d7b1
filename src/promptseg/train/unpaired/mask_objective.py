"""The objective of the first stage: masks of points and boxes against true masks, and the score of each mask.

Of every layer, at uncertain points of each matched pair: 2 x cross-entropy + Dice, and the error of the score, which
estimates the mask's Dice coefficient. Pairs are matched by the last layer's masks, and reused by all layers.

Papers: Wang et al. 2024, arXiv:2402.08960; uncertain points as in PointRend (Kirillov et al. 2020, arXiv:1912.08193)
and Mask2Former (Cheng et al. 2022, arXiv:2112.01527). Differs: masks of other than the last layer are computed for the
matched pairs only; the score of each layer is compared with that layer's own mask.

Shapes: B images, P prompts, K masks of a prompt, N true masks, M matched pairs, U sampled points.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from promptseg.layers.masked_decoder import DecodedMasks, multiply, resize
from promptseg.losses import dice_loss, mask_bce
from promptseg.models.uniovseg.masker import POINT_REACH
from promptseg.models.uniovseg.network import UniOvSeg
from promptseg.train.batch import normalize_images
from promptseg.train.unpaired.mask_batches import MaskBatch
from promptseg.train.unpaired.matching import (
    BCE_WEIGHT,
    DICE_WEIGHT,
    MatchedPairs,
    match_points,
    pairwise_dice,
    points_inside,
)


@dataclass(frozen=True)
class MaskObjective:
    """Losses of a batch.

    Attributes:
        num_points: Points U at which a mask's loss is computed.
        oversampling: Candidates for the uncertain points, as a multiple of U.
        uncertain_share: Share of the points that are the most uncertain candidates; the others are random.
        matching_cells: Rows and columns at which masks are matched; fewer where the masks have fewer.
        bce_weight: Weight of the cross-entropy; pairs are matched with the published weights.
        dice_weight: Weight of the Dice loss, likewise.
        score_weight: Weight of the error of the scores.
        scores_all: Also train, in the last layer, the scores of predictions without a partner, towards their best Dice
            coefficient with a true mask around their point. As published, they are not trained, which needs images in
            which all is masked: else nothing tells a good mask from one of the others.
    """

    num_points: int = 12_544
    oversampling: float = 3.0
    uncertain_share: float = 0.75
    matching_cells: int = 128
    bce_weight: float = BCE_WEIGHT
    dice_weight: float = DICE_WEIGHT
    score_weight: float = 1.0
    scores_all: bool = False

    def __call__(self, model: UniOvSeg, batch: MaskBatch) -> Mapping[str, Tensor]:
        """Compute the loss and its parts, scalars, and the number of matched pairs per image."""
        image = model.decode_pixels(model.encode_maps(normalize_images(batch.images_rgb, model.image_tower)))
        reach = POINT_REACH / batch.images_rgb.shape[1]
        boxes = torch.cat([batch.points_xy_unit - reach, batch.points_xy_unit + reach], dim=-1)
        by_points = model.mask_points(image, boxes)
        pairs = [
            self._match(by_points, index, points, masks)
            for index, (points, masks) in enumerate(zip(batch.points_xy_unit, batch.masks, strict=True))
        ]
        parts = self._losses(by_points, pairs, batch.masks)
        if self.scores_all:
            errors = [
                self._score_errors(by_points, index, points, masks)
                for index, (points, masks) in enumerate(zip(batch.points_xy_unit, batch.masks, strict=True))
            ]
            parts["score_all"] = self.score_weight * torch.cat(errors).sum() / max(1, sum(map(len, errors)))
        if batch.boxes_xyxy_unit:
            padded = torch.nn.utils.rnn.pad_sequence(list(batch.boxes_xyxy_unit), batch_first=True)
            of_boxes = [own_pairs(len(masks), masks.device) for masks in batch.masks]
            for name, value in self._losses(model.mask_boxes(image, padded), of_boxes, batch.masks).items():
                parts[f"box_{name}"] = value
        matched = torch.tensor(float(sum(map(len, pairs))) / len(pairs))
        return {"loss": torch.stack(list(parts.values())).sum(), **parts, "pairs": matched}

    def _match(self, decoded: DecodedMasks, index: int, points_xy_unit: Tensor, masks: Tensor) -> MatchedPairs:
        logits = self._small_logits(decoded, index)
        return match_points(logits, shrink(masks, logits.shape[-2:]), points_inside(points_xy_unit, masks))

    def _score_errors(self, decoded: DecodedMasks, index: int, points_xy_unit: Tensor, masks: Tensor) -> Tensor:
        """Compare all scores of the points in any mask with their best Dice coefficient there, any shape (E,)."""
        logits = self._small_logits(decoded, index)
        with torch.no_grad():
            inside = points_inside(points_xy_unit, masks)
            dice = pairwise_dice(logits.flatten(0, 1), shrink(masks, logits.shape[-2:])).view(*logits.shape[:2], -1)
            best = (dice * inside[:, None]).amax(dim=-1)
        is_seen = inside.any(dim=1)
        scores = decoded.layers[-1].score_logits[index, is_seen].float().sigmoid()
        return F.smooth_l1_loss(scores, best[is_seen], reduction="none").flatten()

    @torch.no_grad()
    def _small_logits(self, decoded: DecodedMasks, index: int) -> Tensor:
        """Compute the last layer's masks of an image at the size of the matching, (P, K, h, w)."""
        with torch.autocast(decoded.features.device.type, enabled=False):
            features = resize(decoded.features[index : index + 1].float(), self._matching_size(decoded.features))
            return multiply(decoded.layers[-1].vectors[index : index + 1].float(), features)[0]

    def _losses(self, decoded: DecodedMasks, pairs: list[MatchedPairs], masks: tuple[Tensor, ...]) -> dict[str, Tensor]:
        """Sum the losses of all layers; each is a sum over pairs, divided by their number."""
        total = mean_over_devices(sum(map(len, pairs)), decoded.features.device)
        # an image may have no pair, and a batch none at all
        zero = sum((layer.vectors.sum() for layer in decoded.layers), decoded.features.sum()) * 0.0
        sums: dict[str, list[Tensor]] = {"bce": [zero], "dice": [zero], "score": [zero]}
        with torch.autocast(decoded.features.device.type, enabled=False):
            for index, (own, true) in enumerate(zip(pairs, masks, strict=True)):
                if not len(own):
                    continue
                features = decoded.features[index : index + 1].float()
                # once for all layers: a mask is as large as the canvas
                maps, small = true.float(), shrink(true, self._matching_size(features))[own.masks]
                small_features = resize(features.detach(), small.shape[-2:])
                for layer in decoded.layers:
                    vectors = layer.vectors[index, own.points, own.granularities].float()
                    score_logits = layer.score_logits[index, own.points, own.granularities].float()
                    bce, dice = self._mask_losses(multiply(vectors[None], features)[0], maps, own.masks)
                    sums["bce"].append(self.bce_weight * bce.sum() / total)
                    sums["dice"].append(self.dice_weight * dice.sum() / total)
                    with torch.no_grad():
                        quality = 1.0 - dice_loss(multiply(vectors[None], small_features)[0], small)
                    error = F.smooth_l1_loss(score_logits.sigmoid(), quality, reduction="sum")
                    sums["score"].append(self.score_weight * error / total)
        return {name: torch.stack(values).sum() for name, values in sums.items()}

    def _mask_losses(self, logits: Tensor, masks: Tensor, chosen: Tensor) -> tuple[Tensor, Tensor]:
        """Compute cross-entropy and Dice loss of M masks, (M, h, w), at points, each (M,).

        Args:
            logits: The M masks.
            masks: True masks, float, shape (N, H, W).
            chosen: Index of the true mask of each, shape (M,).
        """
        with torch.no_grad():
            points = uncertain_points(
                logits, self.num_points, oversampling=self.oversampling, uncertain_share=self.uncertain_share
            )
            target = sample_points_of(masks, chosen, points)
        sampled = sample_points(logits, points)
        return mask_bce(sampled, target), dice_loss(sampled, target)

    def _matching_size(self, features: Tensor) -> tuple[int, int]:
        return min(self.matching_cells, features.shape[-2]), min(self.matching_cells, features.shape[-1])


def own_pairs(count: int, device: torch.device) -> MatchedPairs:
    """Pair each box with its own mask."""
    indexes = torch.arange(count, device=device)
    return MatchedPairs(indexes, torch.zeros_like(indexes), indexes)


def shrink(masks: Tensor, size_hw: Sequence[int]) -> Tensor:
    """Bring masks, bool, shape (N, H, W), to another size by nearest neighbors."""
    return F.interpolate(masks[None].float(), size=tuple(size_hw), mode="nearest")[0] > 0.5


def sample_points(maps: Tensor, points_xy_unit: Tensor) -> Tensor:
    """Read maps bilinearly at points of their own.

    Args:
        maps: Shape (M, h, w).
        points_xy_unit: As shares of the sides, shape (M, U, 2).

    Returns:
        Shape (M, U).
    """
    read = F.grid_sample(maps[:, None], 2 * points_xy_unit[:, :, None] - 1, align_corners=False)
    return read[:, 0, :, 0]


def sample_points_of(maps: Tensor, chosen: Tensor, points_xy_unit: Tensor) -> Tensor:
    """Read maps as `sample_points`, where several may read the same map, which is not copied for each.

    Args:
        maps: Shape (N, h, w).
        chosen: Index of the map of each row of points, shape (M,).
        points_xy_unit: Shape (M, U, 2).

    Returns:
        Shape (M, U).
    """
    read = maps.new_empty(points_xy_unit.shape[:2])
    for index in chosen.unique().tolist():
        rows = chosen == index
        own = points_xy_unit[rows].flatten(0, 1)[None]
        read[rows] = sample_points(maps[index : index + 1], own).view(int(rows.sum()), -1)
    return read


@torch.no_grad()
def uncertain_points(mask_logits: Tensor, num_points: int, *, oversampling: float, uncertain_share: float) -> Tensor:
    """Draw points for each mask, most of them where it is least certain.

    Args:
        mask_logits: Shape (M, h, w).
        num_points: Points U of each mask.
        oversampling: Random candidates, as a multiple of U.
        uncertain_share: Share of the points that are the candidates with logits nearest to 0; the others are random.

    Returns:
        Shape (M, U, 2), as shares of the sides.
    """
    count, device = len(mask_logits), mask_logits.device
    candidates = torch.rand(count, int(num_points * oversampling), 2, device=device)
    num_uncertain = int(num_points * uncertain_share)
    certainty = sample_points(mask_logits, candidates).abs()
    chosen = certainty.topk(num_uncertain, dim=1, largest=False).indices
    uncertain = candidates.gather(1, chosen[:, :, None].expand(-1, -1, 2))
    return torch.cat([uncertain, torch.rand(count, num_points - num_uncertain, 2, device=device)], dim=1)


def mean_over_devices(count: int, device: torch.device) -> Tensor:
    """Average a count over all devices of the run, at least 1."""
    total = torch.tensor(float(count), device=device)
    if dist.is_available() and dist.is_initialized():
        dist.all_reduce(total)
        total = total / dist.get_world_size()
    return total.clamp(min=1.0)
