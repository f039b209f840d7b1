"""Groups, schedule, moving average, train mode."""

import math

import pytest
import torch
from torch import nn

from promptseg.errors import RecipeError
from promptseg.train import optim
from promptseg.train.config import TrainConfig


@pytest.fixture
def model() -> nn.Module:
    tower = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.Dropout()).requires_grad_(False)
    neck = nn.ModuleDict({"conv": nn.Linear(2, 2), "norm": nn.LayerNorm(2)})
    return nn.ModuleDict({"tower": tower, "neck": neck, "head": nn.Sequential(nn.Linear(2, 1), nn.Dropout())})


def test_groups_have_their_rate_and_no_decay_on_vectors(model):
    config = TrainConfig(steps=1, learning_rate=1.0, weight_decay=0.1, lr_multipliers={"neck": 0.5, "neck.norm": 0.1})
    optimizer = optim.build_optimizer(model, config)
    optim.set_learning_rate(optimizer, 1.0)
    found = {id(p): (group["lr"], group["weight_decay"]) for group in optimizer.param_groups for p in group["params"]}
    expected = {
        "neck.conv.weight": (0.5, 0.1),
        "neck.conv.bias": (0.5, 0.0),
        "neck.norm.weight": (0.1, 0.0),
        "neck.norm.bias": (0.1, 0.0),
        "head.0.weight": (1.0, 0.1),
        "head.0.bias": (1.0, 0.0),
    }
    assert {name: found[id(p)] for name, p in model.named_parameters() if id(p) in found} == expected


def test_multiplier_for_nothing_is_refused(model):
    with pytest.raises(RecipeError, match="no trainable parameter starts with 'fpn'; there are head, neck"):
        optim.build_optimizer(model, TrainConfig(steps=1, lr_multipliers={"fpn": 0.5}))


def test_model_without_trainable_parameters_is_refused(model):
    with pytest.raises(RecipeError, match="ModuleDict has no trainable parameter"):
        optim.build_optimizer(model.requires_grad_(False), TrainConfig(steps=1))


def test_schedule_is_torchs_linear_warmup_then_cosine():
    reference = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(reference, T_max=90, eta_min=0.1)
    expected = [(step + 1) / 10 for step in range(10)]
    for _ in range(90):
        expected.append(reference.param_groups[0]["lr"])
        reference.step()
        cosine.step()
    actual = [optim.lr_factor(s, warmup_steps=10, total_steps=100, final_ratio=0.1) for s in range(100)]
    assert actual == pytest.approx(expected)


def test_schedule_without_warmup_starts_at_the_peak():
    assert optim.lr_factor(0, warmup_steps=0, total_steps=10) == 1.0


def test_average_follows_its_formula_and_lends_its_weights(model):
    average = optim.WeightAverage(model, decay=0.9)
    start = model["head"][0].bias.detach().clone()
    with torch.no_grad():
        model["head"][0].bias.add_(1.0)
    average.update(model, step=0)  # decay (1 + 0) / (10 + 0)
    torch.testing.assert_close(average.weights["head.0.bias"], start + 0.9)
    average.update(model, step=10**6)
    torch.testing.assert_close(average.weights["head.0.bias"], start + 0.9 * 0.9 + 0.1)
    with pytest.raises(ZeroDivisionError), optim.swapped_weights(model, average.weights):
        torch.testing.assert_close(model["head"][0].bias.detach(), average.weights["head.0.bias"])
        raise ZeroDivisionError
    torch.testing.assert_close(model["head"][0].bias.detach(), start + 1.0)


def test_train_mode_leaves_frozen_parts_alone(model):
    optim.set_train_mode(model)
    assert not any(module.training for module in model["tower"].modules())
    assert all(module.training for module in [*model["neck"].modules(), *model["head"].modules()])


def test_final_ratio_is_where_it_ends():
    last = optim.lr_factor(999, warmup_steps=0, total_steps=1000, final_ratio=0.25)
    assert math.isclose(last, 0.25, abs_tol=1e-5)


def test_schedule_in_steps_drops_to_a_tenth():
    rates = [optim.lr_factor(s, warmup_steps=2, total_steps=60, drops=(0.85, 0.95)) for s in range(60)]
    assert rates[:3] == pytest.approx([0.5, 1.0, 1.0])
    assert rates[50:52] == pytest.approx([1.0, 0.1]) and rates[56:58] == pytest.approx([0.1, 0.01])
    with pytest.raises(RecipeError, match=r"lr_drops must lie between 0 and 1, not \(0.5, 1.0\)"):
        TrainConfig(steps=1, lr_drops=(0.5, 1.0))


def test_named_matrices_have_no_decay(model):
    optimizer = optim.build_optimizer(model, TrainConfig(steps=1, weight_decay=0.1, undecayed=("neck.conv",)))
    decays = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert decays[id(model["neck"]["conv"].weight)] == 0.0 and decays[id(model["head"][0].weight)] == 0.1
