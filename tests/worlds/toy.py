"""A recipe of the smallest model that has all a resume can get wrong: dropout, batch statistics, frozen weights."""

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from promptseg.train.config import TrainConfig
from promptseg.train.recipe import Recipe


@dataclass(frozen=True)
class ToyBatch:
    inputs: Tensor
    targets: Tensor
    sample_ids: tuple[str, ...]

    def to(self, device: torch.device) -> "ToyBatch":
        return replace(self, inputs=self.inputs.to(device), targets=self.targets.to(device))


class ToySource:
    """Noisy points of a line; `poison` makes one of them NaN."""

    def __init__(self, num_items: int = 40, poison: int | None = None) -> None:
        self.num_items, self.poison = num_items, poison

    def __len__(self) -> int:
        return self.num_items

    def item(self, index: int, rng: np.random.Generator) -> tuple[int, np.ndarray]:
        point = np.linspace(-1, 1, 8) * index + rng.normal(size=8)
        return index, np.full(8, np.nan) if index == self.poison else point

    def collate(self, items: list[Any]) -> ToyBatch:
        inputs = torch.tensor(np.stack([point for _, point in items]), dtype=torch.float32)
        targets = torch.tensor([index / self.num_items for index, _ in items])
        return ToyBatch(inputs, targets, tuple(f"item-{index}" for index, _ in items))


class ToyModel(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.tower = nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8)).requires_grad_(False)
        self.neck = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.GELU(), nn.Dropout(0.3))
        self.head = nn.Linear(16, 1)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(self.neck(self.tower(inputs)))[:, 0]


def step(model: ToyModel, batch: ToyBatch) -> Mapping[str, Tensor]:
    time.sleep(float(os.environ.get("TOY_STEP_SECONDS", "0")))
    error = model(batch.inputs) - batch.targets
    return {"loss": (error**2).mean(), "error": error.detach().abs().mean()}


def validate(model: ToyModel, source: ToySource) -> Mapping[str, float]:
    batch = source.collate([source.item(i, np.random.default_rng(i)) for i in range(len(source))])
    return {"fit": -functional.mse_loss(model(batch.inputs), batch.targets).item()}


def save(model: ToyModel, directory: Path) -> None:
    directory.mkdir()
    save_file(model.state_dict(), directory / "model.safetensors")


def recipe() -> Recipe:
    return Recipe(
        config=TrainConfig(
            steps=30, batch_size=8, learning_rate=0.01, lr_multipliers={"neck": 0.5}, warmup_epochs=1.0, ema_decay=0.9,
            metric="fit", evaluate_every=7, checkpoint_every=3, log_every=4,
        ),
        build_model=ToyModel,
        build_data=lambda data_dir, pseudo_dir: (ToySource(), ToySource(16)),
        step=step,
        validate=validate,
        save=save,
    )  # fmt: skip
