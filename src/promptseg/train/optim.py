"""Parameter groups, learning-rate schedule, moving average, and which parameters are trained."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from promptseg.errors import RecipeError
from promptseg.train.config import TrainConfig


def trainable_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return the parameters that are trained, by name."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def build_optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.AdamW:
    """Build AdamW with a group for each (learning-rate multiplier, decayed or not).

    Each group keeps its multiplier under "lr_multiplier", for `set_learning_rate`.

    Raises:
        RecipeError: No parameter is trainable, or a prefix in `config.lr_multipliers` matches no trainable parameter.
    """
    parameters = trainable_parameters(model)
    if not parameters:
        raise RecipeError(f"{type(model).__name__} has no trainable parameter")
    for prefix in config.lr_multipliers:
        if not any(name.startswith(prefix) for name in parameters):
            tops = sorted({name.split(".")[0] for name in parameters})
            raise RecipeError(
                f"lr_multipliers: no trainable parameter starts with {prefix!r}; there are {', '.join(tops)}"
            )

    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for name, parameter in parameters.items():
        prefixes = [prefix for prefix in config.lr_multipliers if name.startswith(prefix)]
        multiplier = config.lr_multipliers[max(prefixes, key=len)] if prefixes else 1.0
        decayed = parameter.ndim > 1 and not name.startswith(config.undecayed or ())
        groups.setdefault((multiplier, decayed), []).append(parameter)
    return torch.optim.AdamW(
        [
            {"params": members, "weight_decay": config.weight_decay if decayed else 0.0, "lr_multiplier": multiplier}
            for (multiplier, decayed), members in groups.items()
        ],
        lr=config.learning_rate,
        betas=config.betas,
    )


def lr_factor(
    step: int,
    *,
    warmup_steps: int,
    total_steps: int,
    final_ratio: float = 0.0,
    drops: Sequence[float] | None = None,
) -> float:
    """Return the factor on the peak learning rate at a step: a linear rise, then half a cosine, or drops.

    Args:
        step: 0 for the first update.
        warmup_steps: Updates of the rise; the last of them has factor 1.
        total_steps: Updates of the whole run.
        final_ratio: Factor at the end of the cosine.
        drops: Shares of the run after each of which the rate is divided by 10; None: the cosine.
    """
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    if drops is not None:
        return float(0.1 ** sum(step >= round(share * total_steps) for share in drops))
    progress = (step - warmup_steps) / max(1, total_steps - warmup_steps)
    return final_ratio + (1.0 - final_ratio) * 0.5 * (1.0 + math.cos(math.pi * min(1.0, progress)))


def set_learning_rate(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    """Set the learning rate of each group to `learning_rate` times its multiplier."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate * group["lr_multiplier"]


def set_train_mode(model: nn.Module) -> None:
    """Put the trained parts in train mode and the frozen ones in eval mode.

    A frozen tower keeps its batch statistics and has no dropout.
    """
    model.train()
    for module in model.modules():
        parameters = list(module.parameters())
        if parameters and not any(parameter.requires_grad for parameter in parameters):
            module.eval()


@contextmanager
def only_trainable(model: nn.Module, prefixes: tuple[str, ...]) -> Iterator[None]:
    """Train only the parameters whose names start with one of the prefixes; restore `requires_grad` afterwards."""
    flags = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.startswith(prefixes))
    try:
        yield
    finally:
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(flags[name])
            parameter.grad = None


class WeightAverage:
    """Exponential moving average of the trainable parameters."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.weights = {name: p.detach().clone() for name, p in trainable_parameters(model).items()}

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Move towards the model's weights; faster in the first steps, so that the start is soon forgotten."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, parameter in trainable_parameters(model).items():
            self.weights[name].lerp_(parameter, 1.0 - decay)

    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Load a saved average."""
        for name, value in weights.items():
            self.weights[name].copy_(value)


@contextmanager
def swapped_weights(model: nn.Module, weights: Mapping[str, Tensor]) -> Iterator[None]:
    """Give the model other trainable weights for the duration of the context."""
    parameters = trainable_parameters(model)
    own = {name: parameter.detach().clone() for name, parameter in parameters.items()}
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(weights[name])
    try:
        yield
    finally:
        with torch.no_grad():
            for name, parameter in parameters.items():
                parameter.copy_(own[name])
