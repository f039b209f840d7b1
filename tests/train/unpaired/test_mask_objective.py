"""The objective of the first stage: transformers' losses, who is punished and who is not, and what learns."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sa1b_tree import draw_sa1b
from torch import Tensor
from transformers.models.mask2former import modeling_mask2former as m2f

from promptseg.data.sa1b import Sa1b, find_sa1b
from promptseg.layers.masked_decoder import DecodedMasks, MaskVectors
from promptseg.losses import dice_loss, mask_bce
from promptseg.models.build import build_seeded
from promptseg.models.registry import find_row
from promptseg.models.uniovseg.config import UniOvSegConfig
from promptseg.models.uniovseg.network import UniOvSeg
from promptseg.train.unpaired.mask_batches import MaskBatch, MaskSource, MaskViewSettings
from promptseg.train.unpaired.mask_objective import (
    MaskObjective,
    own_pairs,
    sample_points,
    sample_points_of,
    shrink,
    uncertain_points,
)
from promptseg.train.unpaired.matching import MatchedPairs

TINY = find_row("uniovseg-test").config
assert isinstance(TINY, UniOvSegConfig)
OBJECTIVE = MaskObjective(num_points=64, matching_cells=16)
SETTINGS = MaskViewSettings(side=64, points_per_side=4)


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Sa1b:
    return find_sa1b(draw_sa1b(tmp_path_factory.mktemp("sa1b"), 3))


def batch(images: Sa1b, settings: MaskViewSettings = SETTINGS) -> MaskBatch:
    source = MaskSource(images, settings)
    return source.collate([source.item(index, np.random.default_rng(index)) for index in range(2)])


def build() -> UniOvSeg:
    network = build_seeded(TINY).train()
    assert isinstance(network, UniOvSeg)
    return network


def test_losses_are_transformers() -> None:
    logits, target = torch.randn(5, 40) * 3, (torch.rand(5, 40) > 0.5).float()
    torch.testing.assert_close(mask_bce(logits, target).sum() / 5, m2f.sigmoid_cross_entropy_loss(logits, target, 5))
    torch.testing.assert_close(dice_loss(logits, target).sum() / 5, m2f.dice_loss(logits, target, 5))
    maps, points = torch.randn(5, 8, 9), torch.rand(5, 12, 2)
    expected = m2f.sample_point(maps[:, None], points, align_corners=False)[:, 0]
    torch.testing.assert_close(sample_points(maps, points), expected)


def test_most_points_are_where_the_mask_is_least_certain() -> None:
    # certain to the left, uncertain to the right of the middle
    logits = torch.where(torch.arange(16) < 8, 6.0, 0.1).expand(2, 16, 16).contiguous()
    points = uncertain_points(logits, 400, oversampling=3.0, uncertain_share=0.75)
    assert points.shape == (2, 400, 2) and (points >= 0).all() and (points <= 1).all()
    assert (points[:, :300, 0] > 0.45).all(), "three quarters are the most uncertain of three times as many"
    assert 0.3 < (points[:, 300:, 0] > 0.5).float().mean() < 0.7, "the others are anywhere"


def decoded(vectors: Tensor, scores: Tensor, features: Tensor) -> DecodedMasks:
    return DecodedMasks((MaskVectors(vectors, scores),), features)


def test_unmatched_predictions_are_not_punished() -> None:
    vectors = torch.randn(1, 3, 4, 8, requires_grad=True)
    scores = torch.randn(1, 3, 4, requires_grad=True)
    masks = torch.rand(2, 16, 16) > 0.5
    pairs = MatchedPairs(torch.tensor([0, 2]), torch.tensor([1, 3]), torch.tensor([0, 1]))
    parts = OBJECTIVE._losses(decoded(vectors, scores, torch.randn(1, 8, 16, 16)), [pairs], (masks,))
    torch.stack(list(parts.values())).sum().backward()
    assert vectors.grad is not None and scores.grad is not None
    touched = {(int(p), int(k)) for _, p, k in scores.grad.nonzero().tolist()}
    assert touched == {(0, 1), (2, 3)}
    assert {(int(p), int(k)) for _, p, k, _ in vectors.grad.nonzero().tolist()} == touched


def test_a_perfect_mask_has_little_loss_and_the_score_learns_its_dice() -> None:
    masks = torch.zeros(2, 16, 16, dtype=torch.bool)
    masks[0, :8], masks[1, 4:12, 4:12] = True, True
    features = torch.where(masks, 20.0, -20.0)[None]  # two channels, one for each mask
    vectors = torch.eye(2)[None, :, None]
    pairs = own_pairs(2, torch.device("cpu"))
    sure, unsure = (
        OBJECTIVE._losses(decoded(vectors, torch.full((1, 2, 1), logit), features), [pairs], (masks,))
        for logit in (10.0, -10.0)
    )
    wrong = OBJECTIVE._losses(decoded(-vectors, torch.zeros(1, 2, 1), features), [pairs], (masks,))
    # between two cells of an edge no mask is perfect
    assert sure["bce"] < 0.2 * wrong["bce"] and sure["dice"] < 0.3 < 0.5 < wrong["dice"] and sure["score"] < 1e-3
    # smooth L1 of a score of 0 against a Dice of 1
    assert unsure["score"].item() == pytest.approx(0.5, abs=1e-2)


def test_losses_are_means_over_pairs_and_sums_over_layers() -> None:
    vectors, features = torch.randn(1, 2, 1, 8), torch.randn(1, 8, 16, 16)
    masks = torch.rand(2, 16, 16) > 0.5
    layer = MaskVectors(vectors, torch.zeros(1, 2, 1))
    pairs = own_pairs(2, torch.device("cpu"))
    once = OBJECTIVE._losses(DecodedMasks((layer,), features), [pairs], (masks,))["score"]
    thrice = OBJECTIVE._losses(DecodedMasks((layer,) * 3, features), [pairs], (masks,))["score"]
    doubled = OBJECTIVE._losses(
        DecodedMasks((layer,), features), [MatchedPairs(*(torch.cat([x, x]) for x in vars(pairs).values()))], (masks,)
    )["score"]
    torch.testing.assert_close(thrice, 3 * once)
    torch.testing.assert_close(doubled, once)


def test_an_image_without_pairs_has_no_loss_but_a_gradient(images: Sa1b) -> None:
    vectors = torch.randn(1, 3, 4, 8, requires_grad=True)
    none = MatchedPairs(*(torch.zeros(0, dtype=torch.int64) for _ in range(3)))
    parts = OBJECTIVE._losses(
        decoded(vectors, torch.randn(1, 3, 4), torch.randn(1, 8, 16, 16)), [none], (torch.ones(1, 16, 16).bool(),)
    )
    total = torch.stack(list(parts.values())).sum()
    total.backward()
    assert total.item() == 0.0 and vectors.grad is not None and not vectors.grad.any()


def test_all_scores_learn_the_best_dice_around_their_point(images: Sa1b) -> None:
    masks = torch.zeros(2, 16, 16, dtype=torch.bool)
    masks[0, :8], masks[1, 4:12, 4:12] = True, True
    features = torch.where(masks, 20.0, -20.0)[None]
    vectors = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])[None, None].expand(1, 2, 3, 2)
    # the first point lies in the first mask alone, the second in none
    points = torch.tensor([[0.9, 0.1], [0.1, 0.9]])
    scores = torch.full((1, 2, 3), 0.0, requires_grad=True)
    errors = OBJECTIVE._score_errors(decoded(vectors, scores, features), 0, points, masks)
    shared = float((masks[0] & masks[1]).sum())
    dice = torch.tensor([1.0, (2 * shared + 1) / (float(masks[0].sum() + masks[1].sum()) + 1), 1 / 257])
    torch.testing.assert_close(errors, 0.5 * (0.5 - dice) ** 2, atol=1e-4, rtol=1e-3)
    errors.sum().backward()
    assert scores.grad is not None and scores.grad[0, 0].all() and not scores.grad[0, 1].any()


def test_scores_of_all_predictions_are_an_option(images: Sa1b) -> None:
    network, views = build(), batch(images)
    assert "score_all" not in OBJECTIVE(network, views)
    parts = replace(OBJECTIVE, scores_all=True)(network, views)
    assert parts["score_all"] > 0
    total = sum(value for name, value in parts.items() if name not in ("loss", "pairs"))
    torch.testing.assert_close(parts["loss"], total)


def test_weights_of_the_losses_are_settings(images: Sa1b) -> None:
    network, views = build(), batch(images)
    torch.manual_seed(3)
    published = OBJECTIVE(network, views)
    torch.manual_seed(3)
    other = replace(OBJECTIVE, bce_weight=1.0, dice_weight=3.0)(network, views)
    torch.testing.assert_close(other["bce"], published["bce"] / 2)
    torch.testing.assert_close(other["box_dice"], 3 * published["box_dice"])


def test_several_rows_read_one_map() -> None:
    maps, chosen, points = torch.rand(3, 8, 9), torch.tensor([2, 0, 2, 2]), torch.rand(4, 12, 2)
    torch.testing.assert_close(sample_points_of(maps, chosen, points), sample_points(maps[chosen], points))


def test_masks_are_shrunk_by_nearest_neighbors() -> None:
    masks = torch.rand(3, 32, 32) > 0.5
    assert torch.equal(shrink(masks, (8, 8)), masks[:, ::4, ::4])
    assert torch.equal(shrink(masks, (32, 32)), masks)


def test_boxes_are_prompts_of_their_own_masks(images: Sa1b) -> None:
    network, given = build(), batch(images)
    losses = OBJECTIVE(network, given)
    parts = {"bce", "dice", "score"}
    assert losses.keys() == {"loss", "pairs", *parts, *(f"box_{part}" for part in parts)}
    losses["loss"].backward()
    heads = network.mask_decoder.mask_heads
    assert all(head.proj_out.weight.grad is not None and head.proj_out.weight.grad.any() for head in heads)
    assert network.adapter.down[0].weight.grad is None
    alone = OBJECTIVE(build(), batch(images, replace(SETTINGS, box_prompts=False)))
    assert alone.keys() == {"loss", "pairs", *parts}
    torch.testing.assert_close(alone["loss"], torch.stack([alone[part] for part in ("bce", "dice", "score")]).sum())


def test_one_image_is_learned(tmp_path: Path) -> None:
    images = find_sa1b(draw_sa1b(tmp_path, 2))
    network, given = build(), batch(images)
    optimizer = torch.optim.AdamW([p for p in network.parameters() if p.requires_grad], lr=3e-3)
    losses = []
    for _ in range(25):
        loss = OBJECTIVE(network, given)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert np.mean(losses[-3:]) < 0.8 * losses[0]


@pytest.mark.parametrize("dtype", [torch.bfloat16])
def test_mixed_precision_gives_nearly_the_same(images: Sa1b, dtype: torch.dtype) -> None:
    network, given = build(), batch(images)
    torch.manual_seed(1)
    expected = OBJECTIVE(network, given)["loss"]
    torch.manual_seed(1)
    with torch.autocast("cpu", dtype=dtype):
        got = OBJECTIVE(network, given)["loss"]
    assert got.dtype == torch.float32
    assert got.item() == pytest.approx(expected.item(), rel=0.1)
