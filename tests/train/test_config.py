"""Numbers of a run: their checks, the length of a run, and differences between runs."""

import json
from dataclasses import replace

import pytest

from promptseg.errors import RecipeError
from promptseg.train.config import TrainConfig


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, "give either epochs or steps: epochs=None, steps=None"),
        ({"epochs": 1, "steps": 1}, "give either epochs or steps"),
        ({"epochs": 1, "precision": "fp16"}, "precision 'fp16' is not one of 32-true, bf16-mixed, 16-mixed"),
        ({"epochs": 0}, "epochs must be more than 0, not 0"),
        ({"epochs": 1, "batch_size": -1}, "batch_size must be more than 0, not -1"),
        ({"epochs": 1, "weight_decay": -0.1}, "weight_decay must not be negative"),
        ({"epochs": 1, "ema_decay": 1.5}, "ema_decay must lie between 0 and 1, not 1.5"),
    ],
)
def test_config_refuses(changes, message):
    with pytest.raises(RecipeError, match=message):
        TrainConfig(**changes)


def test_length_of_a_run():
    assert TrainConfig(epochs=2.5).total_steps(10) == 25
    assert TrainConfig(steps=7).total_steps(10) == 7


def test_differences_survive_json_and_leave_out_what_can_not_matter():
    config = TrainConfig(epochs=3, lr_multipliers={"neck": 0.5})
    saved = json.loads(json.dumps(config.to_dict()))
    assert config.differences(saved) == []
    assert replace(config, num_workers=9, log_every=1, checkpoint_every=1).differences(saved) == []
    assert replace(config, betas=(0.8, 0.9)).differences(saved) == ["betas: [0.9, 0.999] -> [0.8, 0.9]"]
