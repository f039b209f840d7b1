"""Regions of a mask by its runs are those of SciPy."""

import numpy as np
import pytest

from promptseg.ops.masks import label_components
from promptseg.ops.runs import label_runs


@pytest.mark.parametrize("share", [0.02, 0.3, 0.5, 0.7, 1.0])
@pytest.mark.parametrize("size_hw", [(1, 1), (1, 30), (30, 1), (37, 53)])
def test_regions_are_those_of_scipy(size_hw: tuple[int, int], share: float) -> None:
    for seed in range(10):
        mask = np.random.default_rng(seed).random(size_hw) < share
        labels, num_regions = label_components(mask)
        found = label_runs(mask)
        assert found.max() == num_regions
        pairs = {(int(one), int(other)) for one, other in zip(labels.ravel(), found.ravel(), strict=True)}
        assert len(pairs) == len({one for one, _ in pairs}) == len({other for _, other in pairs})
        assert ((found == 0) == ~mask).all()


def test_a_spiral_is_one_region() -> None:
    mask = np.zeros((9, 9), dtype=bool)
    mask[0, :] = mask[:, 8] = mask[8, :] = mask[2:, 0] = mask[2, :7] = mask[2:7, 6] = mask[6, 2:7] = mask[4:7, 2] = True
    assert label_runs(mask).max() == label_components(mask)[1]
