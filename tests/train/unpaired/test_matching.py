"""Many-to-many matching: transformers' costs, the authors' rule word by word, and what it means."""

from itertools import permutations

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers.models.mask2former import modeling_mask2former as m2f

from promptseg.train.unpaired.matching import match_points, pairwise_costs, points_inside


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def test_costs_are_transformers() -> None:
    logits, masks = torch.randn(6, 8, 9) * 3, torch.rand(5, 8, 9) > 0.6
    flat, true = logits.flatten(1), masks.flatten(1).float()
    expected = 2 * m2f.pair_wise_sigmoid_cross_entropy_loss(flat, true) + m2f.pair_wise_dice_loss(flat, true)
    torch.testing.assert_close(pairwise_costs(logits, masks), expected, atol=1e-5, rtol=1e-5)


def match_literally(costs: Tensor, contains: Tensor) -> set[tuple[int, int, int]]:
    """The authors' rule, by trying all assignments: the cheapest, with a penalty for masks around other places."""
    found = set()
    for point, (table, inside) in enumerate(zip(costs.tolist(), contains.tolist(), strict=True)):
        penalized = [[cost + (0 if around else 1e6) for cost, around in zip(row, inside, strict=True)] for row in table]
        best = min(
            permutations(range(len(inside)), len(table)),
            key=lambda masks: sum(row[mask] for row, mask in zip(penalized, masks, strict=True)),
        )
        found |= {(point, granularity, mask) for granularity, mask in enumerate(best) if inside[mask]}
    return found


@pytest.mark.parametrize("seed", range(6))
def test_pairs_are_those_of_the_authors_rule(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(12, 4, 8, 8, generator=generator)
    masks = torch.rand(6, 8, 8, generator=generator) > 0.4
    contains = torch.rand(12, 6, generator=generator) > 0.6
    pairs = match_points(logits, masks, contains)
    costs = pairwise_costs(logits.flatten(0, 1), masks).view(12, 4, 6)
    ours = set(zip(pairs.points.tolist(), pairs.granularities.tolist(), pairs.masks.tolist(), strict=True))
    assert ours == match_literally(costs, contains) and len(ours) == len(pairs)


def test_a_point_gets_every_mask_around_it_and_a_mask_every_point_in_it() -> None:
    whole, part = torch.zeros(8, 8, dtype=torch.bool), torch.zeros(8, 8, dtype=torch.bool)
    whole[1:7, 1:7], part[1:4, 1:4] = True, True
    masks = torch.stack([whole, part])
    points = torch.tensor([[0.3, 0.3], [0.7, 0.7], [0.02, 0.02]])
    contains = points_inside(points, masks)
    assert contains.tolist() == [[True, True], [True, False], [False, False]]
    # the third granularity draws the whole, the first the part
    logits = torch.stack([torch.where(mask, 5.0, -5.0) for mask in (part, ~whole, whole, ~part)]).expand(3, -1, -1, -1)
    pairs = match_points(logits, masks, contains)
    found = set(zip(pairs.points.tolist(), pairs.granularities.tolist(), pairs.masks.tolist(), strict=True))
    assert found == {(0, 2, 0), (0, 0, 1), (1, 2, 0)}, "the point beside all masks has no pair"


def test_more_masks_than_granularities_leave_the_dearest_out() -> None:
    masks = torch.ones(6, 4, 4, dtype=torch.bool)
    pairs = match_points(torch.randn(1, 4, 4, 4), masks, torch.ones(1, 6, dtype=torch.bool))
    assert len(pairs) == 4 and len(set(pairs.masks.tolist())) == 4


def test_no_masks_give_no_pairs() -> None:
    pairs = match_points(torch.randn(3, 4, 4, 4), torch.zeros(0, 4, 4, dtype=torch.bool), torch.zeros(3, 0).bool())
    assert len(pairs) == 0 and pairs.points.dtype == torch.int64


def test_points_at_the_edge_lie_in_the_last_cell() -> None:
    masks = torch.zeros(1, 4, 6, dtype=torch.bool)
    masks[0, 3, 5] = True
    assert points_inside(torch.tensor([[1.0, 1.0], [0.99, 0.99], [0.5, 0.99]]), masks).tolist() == [
        [True],
        [True],
        [False],
    ]
    assert np.array_equal(points_inside(torch.rand(7, 2), masks).shape, (7, 1))
