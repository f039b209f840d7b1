"""Episodes to train an exemplar head: a region of one image, and another image to find its name in.

The other image either has the name, and its mask is the target, or is known not to have it, and the mask is empty.

Shapes: E embedding, h w cells of an image.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from promptseg.data.negatives import absent_names, present_names
from promptseg.data.sample import Sample, instance_masks
from promptseg.errors import DataError
from promptseg.images import read_image
from promptseg.models.promptseg.coarse import exemplar_window
from promptseg.models.promptseg.network import PromptSegNetwork
from promptseg.train.pixel_text.encoding import encode_image
from promptseg.train.pixel_text.vocabulary import Vocabulary

WEAK_ABSENCE = 0.4  # weight of a name that an incomplete annotation does not mention
MIN_CELLS = 1.0  # a region that covers less is left out


@dataclass(frozen=True, eq=False)
class SupportRegion:
    """A region of an image, cut out with some surroundings.

    Attributes:
        sample_id: Name of the image.
        cells: Half-precision unit vectors, shape (E, h, w).
        coverage: Share of each cell that the region covers, half precision, shape (h, w).
    """

    sample_id: str
    cells: Tensor
    coverage: Tensor


@dataclass(frozen=True, eq=False)
class QueryImage:
    """An image to segment.

    Attributes:
        sample: Its annotation.
        cells: Half-precision unit vectors, shape (E, h, w).
        truths: Share of each cell that each of its names covers, half precision, shape (h, w).
    """

    sample: Sample
    cells: Tensor
    truths: Mapping[str, Tensor]


@dataclass(frozen=True, eq=False)
class ExemplarEpisodes:
    """Query images, and support regions of their names.

    Attributes:
        queries: Images.
        support: Regions by name.
        absent: For each query, the names with regions that are absent from it, and the weight of that, in (0, 1].
    """

    queries: Sequence[QueryImage]
    support: Mapping[str, Sequence[SupportRegion]]
    absent: Sequence[Mapping[str, float]]


@torch.no_grad()
def collect_episodes(
    network: PromptSegNetwork,
    samples: Sequence[Sample],
    vocabulary: Vocabulary,
    stuff: Sequence[str],
    *,
    max_names: int,
    seed: int,
) -> ExemplarEpisodes:
    """Encode images as queries, and the largest object of some of their names as support regions.

    Args:
        network: A trained network.
        samples: Annotated images.
        vocabulary: Every name in their annotation.
        stuff: Names that are absent only where people annotated their absence.
        max_names: Names that are drawn from each image.
        seed: Seed of the draw.

    Raises:
        DataError: No name is in two images.
        ImageError: An image can't be read.
    """
    rng = np.random.default_rng(seed)
    queries: list[QueryImage] = []
    support: dict[str, list[SupportRegion]] = defaultdict(list)
    for sample in samples:
        targets = [target for target in sample.targets if target.masks and target.kind != "phrase"]
        image_rgb = read_image(sample.image)
        cells = _encode(network, image_rgb)
        truths = {}
        for index in rng.permutation(len(targets))[:max_names]:
            target = targets[index]
            objects = instance_masks(target, sample.size_hw)
            mask = np.asarray(objects.any(axis=0))
            truth = _cover(mask, cells)
            if truth.sum() < MIN_CELLS:
                continue
            truths[target.phrase] = truth
            rows, columns = exemplar_window(objects[objects.sum(axis=(1, 2)).argmax()], network.config.settings)
            window_cells = _encode(network, np.ascontiguousarray(image_rgb[rows, columns]))
            coverage = _cover(mask[rows, columns], window_cells)
            support[target.phrase].append(SupportRegion(sample.sample_id, window_cells, coverage))
        queries.append(QueryImage(sample, cells, truths))
    if not any(len(regions) > 1 for regions in support.values()):
        raise DataError(f"in {len(samples)} images no name is in two images: an example needs another image as query")
    absent = [_weigh_absent(query.sample, tuple(support), vocabulary, frozenset(stuff)) for query in queries]
    return ExemplarEpisodes(queries, dict(support), absent)


def _encode(network: PromptSegNetwork, image_rgb: NDArray[np.uint8]) -> Tensor:
    return encode_image(network, image_rgb).pixel_embedding[0].cpu().half()


def _cover(mask: NDArray[np.bool_], cells: Tensor) -> Tensor:
    shares = torch.from_numpy(mask.astype(np.float32))[None, None]
    return F.interpolate(shares, cells.shape[1:], mode="area")[0, 0].half()


def _weigh_absent(
    sample: Sample, names: Sequence[str], vocabulary: Vocabulary, stuff: frozenset[str]
) -> dict[str, float]:
    """Return the weight of the absence of each name; names that may be present are left out."""
    mentioned = vocabulary.find(present_names(sample))
    may_be_present = np.any([vocabulary.may_coincide(index) for index in mentioned], axis=0)
    unmentioned = [
        name
        for name in names
        if name not in stuff and mentioned and not any(may_be_present[index] for index in vocabulary.find([name]))
    ]
    return {**dict.fromkeys(unmentioned, WEAK_ABSENCE), **dict.fromkeys(absent_names(sample, names), 1.0)}
