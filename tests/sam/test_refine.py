"""Refinement: a coarse, shifted mask comes out sharp, and stays coarse where SAM's mask is not taken."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from promptseg.ops.masks import mask_iou
from promptseg.ops.resize import resize_map
from promptseg.runtime import Runtime
from promptseg.sam.base import PromptableSegmenter
from promptseg.sam.load import load_sam
from promptseg.sam.refine import refine
from promptseg.sam.refine_settings import RefineSettings

pytestmark = pytest.mark.weights
HEIGHT, WIDTH = 180, 240


@pytest.fixture(scope="module")
def sam() -> PromptableSegmenter:
    return load_sam("mobile-sam", runtime=Runtime("torch"), input_side=256)


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


def coarse_logits(mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """A mask as a coarse decoder gives it: cells of 12 pixels, unsure edges, half a cell off to the right."""
    shifted = torch.from_numpy(np.roll(mask, 6, axis=1)).float()
    cells = F.interpolate(shifted[None, None], (15, 20), mode="area").clamp(0.05, 0.95).logit()
    return F.interpolate(cells, (48, 64), mode="bilinear")[0, 0].numpy()


def iou(logits: NDArray[np.float32], mask: NDArray[np.bool_]) -> float:
    return mask_iou(resize_map(logits, (HEIGHT, WIDTH)) > 0, mask)


def test_every_object_gets_sharp(sam: PromptableSegmenter, image_rgb: NDArray[np.uint8]) -> None:
    coarse = np.stack([coarse_logits(mask) for mask in (BOTH, DISCS[1])])
    refined = refine(sam, sam.encode(image_rgb), coarse)
    assert refined.shape == (2, 48, 64)
    for index, mask in enumerate((BOTH, DISCS[1])):
        before, after = iou(coarse[index], mask), iou(refined[index], mask)
        assert before < 0.85
        assert after > 0.93


def test_the_rest_of_a_map_that_is_nearly_covered_stays(sam: PromptableSegmenter, image_rgb: NDArray[np.uint8]) -> None:
    coarse = coarse_logits(BOTH)[None]
    embedding = sam.encode(image_rgb)
    largest = refine(sam, embedding, coarse, RefineSettings(coverage=0.5))
    np.testing.assert_allclose(largest[0, :, :28], coarse[0, :, :28])
    assert not np.allclose(largest[0, :, 36:], coarse[0, :, 36:], atol=0.5)


def test_the_coarse_map_stays_where_the_mask_is_not_taken(
    sam: PromptableSegmenter, image_rgb: NDArray[np.uint8]
) -> None:
    coarse = coarse_logits(BOTH)[None]
    embedding = sam.encode(image_rgb)
    for settings in (RefineSettings(min_score=1.5), RefineSettings(min_agreement=1.0)):
        np.testing.assert_allclose(refine(sam, embedding, coarse, settings), coarse)


def test_nothing_found_stays_nothing(sam: PromptableSegmenter, image_rgb: NDArray[np.uint8]) -> None:
    refined = refine(sam, sam.encode(image_rgb), np.full((3, 48, 64), -2.0, np.float32))
    assert refined.shape == (3, 48, 64)
    assert (refined < 0).all()


def test_queries_do_not_touch_each_other(sam: PromptableSegmenter, image_rgb: NDArray[np.uint8]) -> None:
    coarse = np.stack([coarse_logits(mask) for mask in DISCS])
    embedding = sam.encode(image_rgb)
    together = refine(sam, embedding, coarse)
    alone = np.concatenate([refine(sam, embedding, one[None]) for one in coarse])
    np.testing.assert_allclose(together, alone, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("num_points", [0, 3])
def test_other_prompts_work_too(sam: PromptableSegmenter, image_rgb: NDArray[np.uint8], num_points: int) -> None:
    settings = RefineSettings(num_points=num_points, with_mask=num_points > 0)
    refined = refine(sam, sam.encode(image_rgb), coarse_logits(BOTH)[None], settings)
    assert iou(refined[0], BOTH) > 0.9
