"""Refinement: a coarse, shifted mask comes out sharp, and stays coarse where the masker is not believed."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from promptseg.sam.base import Masker
from promptseg.sam.load import load_masker
from promptseg.sam.refine import RefineSettings, refine

pytestmark = pytest.mark.weights
HEIGHT, WIDTH = 180, 240


@pytest.fixture(scope="module")
def masker() -> Masker:
    return load_masker("mobile-sam", input_side=256)


def disc(center_xy: tuple[float, float], radius: float) -> NDArray[np.bool_]:
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    inside: NDArray[np.bool_] = (x - center_xy[0]) ** 2 + (y - center_xy[1]) ** 2 < radius**2
    return inside


DISCS = (disc((70, 60), 40), disc((180, 120), 45))
BOTH = DISCS[0] | DISCS[1]


@pytest.fixture(scope="module")
def image_rgb() -> NDArray[np.uint8]:
    texture = np.random.default_rng(0).normal(0, 4, (HEIGHT, WIDTH, 3))
    painted = np.where(BOTH[..., None], (230, 120, 40), (90, 110, 130)) + texture
    return painted.clip(0, 255).astype(np.uint8)


def coarse_logits(mask: NDArray[np.bool_]) -> Tensor:
    """A mask as a coarse decoder gives it: cells of 12 pixels, unsure edges, half a cell off to the right."""
    shifted = torch.from_numpy(np.roll(mask, 6, axis=1)).float()
    cells = F.interpolate(shifted[None, None], (15, 20), mode="area").clamp(0.05, 0.95).logit()
    return F.interpolate(cells, (48, 64), mode="bilinear")[0, 0]


def iou(logits: Tensor, mask: NDArray[np.bool_]) -> float:
    found = F.interpolate(logits[None, None], mask.shape, mode="bilinear")[0, 0].numpy() > 0
    return float((found & mask).sum() / max((found | mask).sum(), 1))


def test_every_object_gets_sharp(masker: Masker, image_rgb: NDArray[np.uint8]) -> None:
    coarse = torch.stack([coarse_logits(mask) for mask in (BOTH, DISCS[1])])
    refined = refine(masker, masker.encode(image_rgb), coarse)
    assert refined.shape == (2, 48, 64)
    for index, mask in enumerate((BOTH, DISCS[1])):
        before, after = iou(coarse[index], mask), iou(refined[index], mask)
        assert before < 0.85
        assert after > 0.93


def test_the_rest_of_a_map_that_is_nearly_covered_stays(masker: Masker, image_rgb: NDArray[np.uint8]) -> None:
    coarse = coarse_logits(BOTH)[None]
    embedding = masker.encode(image_rgb)
    largest = refine(masker, embedding, coarse, RefineSettings(coverage=0.5))
    torch.testing.assert_close(largest[0, :, :28], coarse[0, :, :28])
    assert not torch.allclose(largest[0, :, 36:], coarse[0, :, 36:], atol=0.5)


def test_the_coarse_map_stays_where_the_masker_is_not_believed(masker: Masker, image_rgb: NDArray[np.uint8]) -> None:
    coarse = coarse_logits(BOTH)[None]
    embedding = masker.encode(image_rgb)
    for settings in (RefineSettings(min_score=1.5), RefineSettings(min_agreement=1.0)):
        torch.testing.assert_close(refine(masker, embedding, coarse, settings), coarse)


def test_nothing_found_stays_nothing(masker: Masker, image_rgb: NDArray[np.uint8]) -> None:
    refined = refine(masker, masker.encode(image_rgb), torch.full((3, 48, 64), -2.0))
    assert refined.shape == (3, 48, 64)
    assert bool((refined < 0).all())


def test_queries_do_not_touch_each_other(masker: Masker, image_rgb: NDArray[np.uint8]) -> None:
    coarse = torch.stack([coarse_logits(mask) for mask in DISCS])
    embedding = masker.encode(image_rgb)
    together = refine(masker, embedding, coarse)
    alone = torch.cat([refine(masker, embedding, one[None]) for one in coarse])
    torch.testing.assert_close(together, alone, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("num_points", [0, 3])
def test_other_prompts_work_too(masker: Masker, image_rgb: NDArray[np.uint8], num_points: int) -> None:
    settings = RefineSettings(num_points=num_points, with_mask=num_points > 0)
    refined = refine(masker, masker.encode(image_rgb), coarse_logits(BOTH)[None], settings)
    assert iou(refined[0], BOTH) > 0.9
