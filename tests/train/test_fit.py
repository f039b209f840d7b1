"""Training in place: only the chosen parameters change, and nothing of the run stays behind."""

import tempfile
from pathlib import Path

import pytest
import torch
from toy import ToyModel, ToySource, step

from promptseg.train.config import TrainConfig
from promptseg.train.fit import fit_model

CONFIG = TrainConfig(steps=12, batch_size=8, learning_rate=0.01)


def test_only_the_chosen_parameters_change_and_the_mode_is_kept(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    torch.manual_seed(0)
    model = ToyModel().eval()
    flags = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    before = {name: value.clone() for name, value in model.named_parameters()}
    seen: list[float] = []
    losses = fit_model(model, ToySource(), step, CONFIG, trainable=("head.",), on_step=seen.append)
    assert losses == seen and len(losses) == 12
    changed = {name for name, value in model.named_parameters() if not torch.equal(value, before[name])}
    assert changed == {"head.weight", "head.bias"}
    assert flags == {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    assert not model.training and all(parameter.grad is None for parameter in model.parameters())
    assert not list(tmp_path.iterdir()), "a temporary run leaves no files"


def test_the_same_seed_gives_the_same_weights() -> None:
    models = []
    for _ in range(2):
        torch.manual_seed(0)
        models.append(ToyModel())
        fit_model(models[-1], ToySource(), step, CONFIG, trainable=("neck.", "head."))
    first, second = (model.state_dict() for model in models)
    assert all(torch.equal(value, second[name]) for name, value in first.items())
