"""The batches of a run, from any step on; they do not depend on interruptions of the run."""

import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from promptseg.errors import DataError
from promptseg.train.config import TrainConfig
from promptseg.train.recipe import Batch, TrainSource

_Position = tuple[int, int]  # (epoch, index in the source)


class StepSampler(Sampler[list[_Position]]):
    """Yields, for each step of a run, the items that this process takes.

    Each epoch is a new permutation of the source, made from (seed, epoch) alone; items that don't fill a batch are left
    out of that epoch. The processes of a multi-device run take every world_size-th item of a batch.

    Raises:
        DataError: The source is smaller than a batch, or the devices can't share a batch evenly.
    """

    def __init__(
        self, num_items: int, *, batch_size: int, seed: int, steps: range, rank: int = 0, world_size: int = 1
    ) -> None:
        if num_items < batch_size:
            raise DataError(f"the training source has {num_items} items, fewer than one batch of {batch_size}")
        if batch_size % world_size:
            raise DataError(f"a batch of {batch_size} can't be shared evenly by {world_size} devices")
        self.num_items, self.batch_size, self.seed, self.steps = num_items, batch_size, seed, steps
        self.rank, self.world_size = rank, world_size

    def __len__(self) -> int:
        return len(self.steps)

    def __iter__(self) -> Iterator[list[_Position]]:
        steps_per_epoch = self.num_items // self.batch_size
        order, order_epoch = np.empty(0, dtype=np.int64), -1
        for step in self.steps:
            epoch, position = divmod(step, steps_per_epoch)
            if epoch != order_epoch:
                order, order_epoch = np.random.default_rng((self.seed, epoch)).permutation(self.num_items), epoch
            batch = order[position * self.batch_size : (position + 1) * self.batch_size]
            yield [(epoch, int(index)) for index in batch[self.rank :: self.world_size]]


class _SeededItems(Dataset[Any]):
    """A training source; each item gets the random generator of (seed, epoch, index)."""

    def __init__(self, source: TrainSource, seed: int) -> None:
        self.source, self.seed = source, seed

    def __getitem__(self, position: _Position) -> Any:
        return self.source.item(position[1], np.random.default_rng((self.seed, *position)))


def stream_batches(
    source: TrainSource, config: TrainConfig, *, steps: range, rank: int = 0, world_size: int = 1
) -> Iterator[Batch]:
    """Yield one batch for each step.

    Raises:
        DataError: The source is smaller than a batch, or the devices can't share a batch evenly.
    """
    sampler = StepSampler(
        len(source), batch_size=config.batch_size, seed=config.seed, steps=steps, rank=rank, world_size=world_size
    )
    return iter(
        DataLoader(
            _SeededItems(source, config.seed),
            batch_sampler=sampler,
            collate_fn=source.collate,
            num_workers=config.num_workers,
            # A recipe is a file, whose classes only a forked worker knows; Python 3.14 no longer forks by itself.
            multiprocessing_context="fork" if config.num_workers and sys.platform == "linux" else None,
            # A generator of its own: the loader must not draw from the one that dropout uses.
            generator=torch.Generator().manual_seed(config.seed),
        )
    )
