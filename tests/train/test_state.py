"""The state of a run: seeds of a step, weights taken from another model, directories that are replaced whole."""

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from promptseg.errors import CheckpointError
from promptseg.train.state import Progress, replace_directory, seed_step, start_from, trained_state


def draws() -> tuple[float, float, float]:
    return random.random(), float(np.random.random()), torch.rand(()).item()


def test_a_step_has_the_same_randomness_whatever_came_before() -> None:
    seed_step(3, 7)
    first = draws()
    draws()
    seed_step(3, 7)
    assert draws() == first
    for other in ((3, 8, 0), (4, 7, 0), (3, 7, 1)):
        seed_step(*other)
        assert not set(draws()) & set(first)


def test_weights_of_equal_name_and_shape_are_taken_over() -> None:
    own = nn.ModuleDict({"neck": nn.Linear(2, 2), "head": nn.Linear(2, 3)})
    other = nn.ModuleDict({"neck": nn.Linear(2, 2), "head": nn.Linear(2, 4)})
    head = own["head"].weight.clone()
    assert start_from(own, other) == 2
    assert torch.equal(own["neck"].weight, other["neck"].weight) and torch.equal(own["head"].weight, head)
    with pytest.raises(CheckpointError, match="shares no weight"):
        start_from(own, nn.ModuleDict({"tail": nn.Linear(2, 2)}))


def test_the_trained_state_has_buffers_but_no_frozen_parameter() -> None:
    model = nn.ModuleDict({"tower": nn.BatchNorm1d(2), "head": nn.Linear(2, 1)})
    model["tower"].requires_grad_(False)
    names = {"tower.running_mean", "tower.running_var", "tower.num_batches_tracked", "head.weight", "head.bias"}
    assert trained_state(model).keys() == names


def test_a_directory_is_replaced_whole(tmp_path: Path) -> None:
    target = tmp_path / "best"

    def write(text: str) -> None:
        def fill(directory: Path) -> None:
            directory.mkdir()
            (directory / f"{text}.txt").write_text(text)

        replace_directory(target, fill)

    write("first")
    (tmp_path / ".best.new").mkdir()  # left by a kill
    write("second")
    assert [path.name for path in target.iterdir()] == ["second.txt"]
    assert [path.name for path in tmp_path.iterdir()] == ["best"]


def test_means_start_again_after_each_line() -> None:
    progress = Progress()
    progress.add({"loss": torch.tensor(1.0)})
    progress.add({"loss": 3.0})
    assert progress.take_means() == {"loss": 2.0} and progress.take_means() == {}
