"""The objective of the second stage: regions of an image move towards the names in its captions.

Regions are the masks of a grid of points, as the first stage gives them. The cost of each pair of a region and a name
is averaged over scales of the image; a bipartite assignment selects pairs, of which the surest share is kept; their
loss is 1 - cosine between the adapter's vector of the region and the name's vector.

Paper: Wang et al. 2024, arXiv:2402.08960, section 3.3. The cost of the paper is the negative cosine, that of the
authors' code 1 - the probability among the names. Ours: keeping the surest pairs of a batch; the paper keeps all.

Shapes: R regions of an image, N its names, E dimension of CLIP's space, S side of the canvas in pixels.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from promptseg.errors import RecipeError
from promptseg.language.prompt_templates import VILD_TEMPLATES
from promptseg.layers.pixel_decoder import PixelFeatures
from promptseg.models.uniovseg.masker import POINT_REACH
from promptseg.models.uniovseg.network import RegionFeatures, UniOvSeg
from promptseg.models.uniovseg.regions import suppress_masks
from promptseg.ops.windows import point_grid
from promptseg.sam.base import OUTSIDE_LOGIT
from promptseg.train.batch import normalize_images
from promptseg.train.unpaired.text_batches import TextBatch

Costs = NDArray[np.float64]


@dataclass(frozen=True)
class AlignSettings:
    """How regions are found and paired with names; the defaults are those of the paper, but for `confident_share`.

    Attributes:
        input_sizes: Sides of the canvas at which the costs are computed, pixels; multiples of 32.
        cost: "cosine": negative cosine, as the paper. "probability": 1 - softmax over the names of an image, as the
            authors' code; its surest pairs are less often right (benchmarks/confident_pairs.py).
        confident_share: Share of a batch's pairs that is kept, the surest ones; 1: all, as the paper.
        points_per_side: Points along each side of the image.
        min_score: Least estimated quality of a region.
        max_iou: As `RegionSettings`.
        max_inside_share: As `RegionSettings`.
        templates: Sentences around a name, whose vectors are averaged.

    Raises:
        RecipeError: A number is out of its range.
    """

    input_sizes: tuple[int, ...] = (896, 1024)
    cost: Literal["cosine", "probability"] = "cosine"
    confident_share: float = 0.25
    points_per_side: int = 10
    min_score: float = 0.62
    max_iou: float = 0.5
    max_inside_share: float = 0.7
    templates: tuple[str, ...] = VILD_TEMPLATES

    def __post_init__(self) -> None:
        if not self.input_sizes or any(size < 32 or size % 32 for size in self.input_sizes):
            raise RecipeError(f"input_sizes must be multiples of 32, not {self.input_sizes}")
        if not 0.0 < self.confident_share <= 1.0:
            raise RecipeError(f"confident_share must lie in (0, 1], not {self.confident_share}")
        if self.points_per_side < 1:
            raise RecipeError(f"points_per_side must be 1 or more, not {self.points_per_side}")


@dataclass(frozen=True)
class ConfidentPairs:
    """Pairs of a region and a name of one image.

    Attributes:
        regions: Index of the region, shape (M,), int64.
        names: Index of the name, shape (M,), int64.
        costs: Shape (M,).
    """

    regions: NDArray[np.int64]
    names: NDArray[np.int64]
    costs: Costs

    def __len__(self) -> int:
        return len(self.costs)


def assign(costs: Costs) -> ConfidentPairs:
    """Pair regions and names one to one at the least total cost; min(R, N) pairs.

    Args:
        costs: Shape (R, N).
    """
    regions, names = linear_sum_assignment(costs)
    return ConfidentPairs(np.asarray(regions, np.int64), np.asarray(names, np.int64), costs[regions, names])


def keep_surest(pairs: Sequence[ConfidentPairs], share: float) -> list[ConfidentPairs]:
    """Keep the pairs of the least cost, over all images together; at least one where there is any.

    Args:
        pairs: Of each image.
        share: Share of all pairs that is kept, in (0, 1].
    """
    costs = np.concatenate([one.costs for one in pairs])
    if not len(costs):
        return list(pairs)
    count = max(1, round(share * len(costs)))
    images = np.repeat(np.arange(len(pairs)), [len(one) for one in pairs])
    positions = np.concatenate([np.arange(len(one)) for one in pairs])
    surest = np.sort(np.argsort(costs, kind="stable")[:count])
    kept = [positions[surest][images[surest] == index] for index in range(len(pairs))]
    return [
        ConfidentPairs(one.regions[rows], one.names[rows], one.costs[rows])
        for one, rows in zip(pairs, kept, strict=True)
    ]


class AlignObjective:
    """Losses of a batch. Vectors of names are kept, for the text tower is frozen.

    Args:
        settings: How regions are found and paired with names.
    """

    def __init__(self, settings: AlignSettings) -> None:
        self.settings = settings
        self._names: dict[str, Tensor] = {}

    def __call__(self, model: UniOvSeg, batch: TextBatch) -> Mapping[str, Tensor]:
        """Compute the loss; also the mean cosine of the same pairs by CLIP alone, and the number of pairs per image."""
        pixels = normalize_images(batch.images_rgb, model.image_tower)
        maps = model.encode_maps(pixels)
        with torch.no_grad():
            masks = self._find_regions(model, model.decode_pixels(maps), batch.shown_hw)
            names = [self._embed_names(model, entities) for entities in batch.entities]
            vectors = self._clip_vectors(model, pixels, maps, masks)
        pairs = self._pair(vectors, names, model.clip_tower().cosine_scale())
        features = model.region_features(maps)
        cosines, by_clip = [], []
        for index, (kept, own_names) in enumerate(zip(pairs, names, strict=True)):
            if not len(kept):
                continue
            target = own_names[kept.names]
            rows = slice(index, index + 1)
            own = RegionFeatures(features.clip[rows], tuple(one[rows] for one in features.reduced))
            cosines.append((model.embed_regions(own, masks[index][kept.regions][None])[0] * target).sum(-1))
            by_clip.append((vectors[-1][index][kept.regions] * target).sum(-1))
        count = torch.tensor(float(sum(map(len, pairs))) / len(pairs))
        if not cosines:  # a loss of 0, which has a gradient
            assert model.adapter is not None  # it is what is trained
            zero = torch.stack([weight.sum() for weight in model.adapter.parameters()]).sum() * 0.0
            return {"loss": zero, "clip_cosine": zero.detach(), "pairs": count}
        loss = 1.0 - torch.cat(cosines).float().mean()
        return {"loss": loss, "clip_cosine": torch.cat(by_clip).float().mean(), "pairs": count}

    def _find_regions(self, model: UniOvSeg, image: PixelFeatures, shown_hw: Sequence[tuple[int, int]]) -> list[Tensor]:
        """Mask a grid of points on each image, and keep good and different masks: logits (R, h, w), best first."""
        side, settings = model.config.image_size, self.settings
        points = np.stack([point_grid(settings.points_per_side, shown) / side for shown in shown_hw])
        points_xy_unit = torch.from_numpy(points).to(image.mask_features)
        reach = POINT_REACH / side
        decoded = model.mask_points(image, torch.cat([points_xy_unit - reach, points_xy_unit + reach], dim=-1))
        logits = decoded.mask_logits().float().flatten(1, 2)
        scores = decoded.layers[-1].score_logits.float().sigmoid().flatten(1, 2)
        regions = []
        for index, shown in enumerate(shown_hw):
            rows, columns = (-(-length * logits.shape[-1] // side) for length in shown)
            own = logits[index]
            own[:, rows:], own[:, :, columns:] = OUTSIDE_LOGIT, OUTSIDE_LOGIT
            good = ((scores[index] >= settings.min_score) & (own >= 0).any(dim=2).any(dim=1)).nonzero()[:, 0]
            kept = suppress_masks(
                (own[good] >= 0).cpu().numpy(),
                scores[index][good].cpu().numpy(),
                max_iou=settings.max_iou,
                max_inside_share=settings.max_inside_share,
            )
            regions.append(own[good[torch.from_numpy(kept).to(good.device)]])
        return regions

    def _clip_vectors(
        self, model: UniOvSeg, pixels: Tensor, maps: Sequence[Tensor], masks: Sequence[Tensor]
    ) -> list[list[Tensor]]:
        """Embed the regions by CLIP at each scale: a list of scales, each of images, each (R, E)."""
        scales = []
        for size in self.settings.input_sizes:
            clip = maps[-1]
            if size != pixels.shape[-1]:
                resized = F.interpolate(pixels, size=(size, size), mode="bilinear", align_corners=False)
                clip = model.encode_maps(resized)[-1]
            scales.append([model.embed_clip_regions(clip[i : i + 1], own[None])[0] for i, own in enumerate(masks)])
        return scales

    def _pair(
        self, vectors: Sequence[Sequence[Tensor]], names: Sequence[Tensor], scale: Tensor
    ) -> list[ConfidentPairs]:
        """Pair regions and names of each image, and keep the surest pairs of all images."""
        pairs = []
        for of_scales, own_names in zip(zip(*vectors, strict=True), names, strict=True):
            cosines = torch.stack([own @ own_names.T for own in of_scales]).float()
            costs = -cosines if self.settings.cost == "cosine" else 1.0 - (scale * cosines).softmax(dim=-1)
            pairs.append(assign(costs.mean(dim=0).double().cpu().numpy()))
        return keep_surest(pairs, self.settings.confident_share)

    def _embed_names(self, model: UniOvSeg, names: Sequence[str]) -> Tensor:
        """Embed N names as the mean over templates, of length 1, shape (N, E)."""
        for name in names:
            if name not in self._names:
                mean = model.embed_texts([template.format(name) for template in self.settings.templates]).mean(dim=0)
                self._names[name] = F.normalize(mean.float(), dim=0).cpu()
        return torch.stack([self._names[name] for name in names]).to(model.device)
