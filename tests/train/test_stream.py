"""The order of training items: a permutation for each epoch, shared by the processes of a run."""

import numpy as np
import pytest

from promptseg.errors import DataError
from promptseg.train.stream import StepSampler


def items(steps: range, **changes: int) -> list[list[tuple[int, int]]]:
    return list(StepSampler(10, steps=steps, **{"batch_size": 3, "seed": 5, **changes}))


def test_every_epoch_is_a_permutation_without_its_remainder() -> None:
    batches = items(range(6))
    for epoch in (0, 1):
        drawn = [place for batch in batches[3 * epoch : 3 * epoch + 3] for place in batch]
        assert {one for one, _ in drawn} == {epoch}
        indices = [index for _, index in drawn]
        assert len(set(indices)) == 9 and set(indices) < set(range(10))
    first, second = ([index for batch in batches[start : start + 3] for _, index in batch] for start in (0, 3))
    assert first != second


def test_a_run_goes_on_at_any_step_with_the_same_items() -> None:
    assert items(range(4, 6)) == items(range(6))[4:]
    assert items(range(6), seed=6) != items(range(6))


def test_processes_share_each_batch_without_overlap() -> None:
    whole = items(range(4), batch_size=4)
    parts = [items(range(4), batch_size=4, rank=rank, world_size=2) for rank in (0, 1)]
    for batch, first, second in zip(whole, *parts, strict=True):
        assert sorted(first + second) == sorted(batch) and len(first) == len(second) == 2


def test_a_batch_must_fit_the_source_and_the_devices() -> None:
    with pytest.raises(DataError, match="10 items, fewer than one batch of 11"):
        items(range(1), batch_size=11)
    with pytest.raises(DataError, match="a batch of 3 can't be shared evenly by 2 devices"):
        items(range(1), world_size=2)


def test_the_seed_may_be_large() -> None:
    assert len(items(range(2), seed=int(np.iinfo(np.uint32).max))) == 2
