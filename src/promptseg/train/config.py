"""The numbers of a training run; its code (model, data, objective) is in the recipe."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, get_args

from promptseg.errors import RecipeError

Precision = Literal["32-true", "bf16-mixed", "16-mixed"]

# Settings that change the speed or the output of a run, but not its weights.
_NO_EFFECT_ON_WEIGHTS = frozenset({"num_workers", "log_every", "checkpoint_every"})


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Numbers of a training run, checked on construction.

    A step is one optimizer update on one batch. An epoch is `len(source) // batch_size` steps.

    Attributes:
        epochs: Length of the run; give either this or `steps`. The learning-rate schedule spans the whole length.
        steps: Length of the run in steps.
        batch_size: Items in a batch, over all devices together.
        learning_rate: Peak of the schedule, for parameters without a multiplier.
        lr_multipliers: Prefix of a parameter's name to factor on its learning rate; the longest matching prefix wins.
        betas: AdamW's.
        weight_decay: AdamW's; parameters of one dimension (biases, norms) have none.
        warmup_epochs: Linear rise from 0, in epochs (may be a fraction).
        final_lr_ratio: Learning rate at the end of the cosine, as a fraction of the peak.
        lr_drops: Shares of the run after each of which the learning rate is divided by 10, instead of the cosine.
        undecayed: Prefixes of parameters that have no weight decay although they have several dimensions.
        clip_norm: Largest norm of the whole gradient.
        precision: Lightning Fabric's names; the "mixed" ones keep float32 weights.
        ema_decay: Validation, `best` and `final` use a moving average of the weights with this decay. None: no average.
        metric: Name of the validation metric that selects `best`.
        metric_goal: Whether the metric is maximized or minimized.
        patience: Stop after this many validations without a new best. None: never.
        evaluate_every: Steps between validations. None: once an epoch.
        checkpoint_every: Steps between resumable checkpoints, besides those after each validation.
        log_every: Steps that a line of the log averages over.
        seed: Seed of weights, order, augmentation and dropout.
        num_workers: Number of processes that prepare batches; 0: the training process prepares them.

    Raises:
        RecipeError: A number is out of its range.
    """

    epochs: float | None = None
    steps: int | None = None
    batch_size: int = 32
    learning_rate: float = 2e-4
    lr_multipliers: Mapping[str, float] = field(default_factory=dict)
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 1e-2
    warmup_epochs: float = 0.0
    final_lr_ratio: float = 0.0
    lr_drops: tuple[float, ...] | None = None
    undecayed: tuple[str, ...] | None = None
    clip_norm: float = 1.0
    precision: Precision = "32-true"
    ema_decay: float | None = None
    metric: str = "iou"
    metric_goal: Literal["max", "min"] = "max"
    patience: int | None = None
    evaluate_every: int | None = None
    checkpoint_every: int = 500
    log_every: int = 10
    seed: int = 0
    num_workers: int = 0

    def __post_init__(self) -> None:
        """Check ranges."""
        if (self.epochs is None) == (self.steps is None):
            raise RecipeError(f"give either epochs or steps: epochs={self.epochs}, steps={self.steps}")
        if self.precision not in get_args(Precision):
            raise RecipeError(f"precision {self.precision!r} is not one of {', '.join(get_args(Precision))}")
        for name in ("epochs", "steps", "batch_size", "learning_rate", "clip_norm", "patience", "evaluate_every",
                     "checkpoint_every", "log_every"):  # fmt: skip
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise RecipeError(f"{name} must be more than 0, not {value}")
        for name in ("weight_decay", "warmup_epochs", "num_workers", "seed"):
            if getattr(self, name) < 0:
                raise RecipeError(f"{name} must not be negative, not {getattr(self, name)}")
        if any(not 0 < share < 1 for share in self.lr_drops or ()):
            raise RecipeError(f"lr_drops must lie between 0 and 1, not {self.lr_drops}")
        if self.ema_decay is not None and not 0 < self.ema_decay < 1:
            raise RecipeError(f"ema_decay must lie between 0 and 1, not {self.ema_decay}")

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    def differences(self, saved: Mapping[str, Any]) -> list[str]:
        """List the fields that would make a resumed run another run.

        Args:
            saved: `to_dict()` of the run that is resumed.

        Returns:
            One "name: saved -> now" for each different field that changes the weights.
        """
        now = self.to_dict()
        names = [f.name for f in fields(self) if f.name not in _NO_EFFECT_ON_WEIGHTS]
        return [f"{name}: {saved.get(name)} -> {now[name]}" for name in names if saved.get(name) != now[name]]

    def total_steps(self, steps_per_epoch: int) -> int:
        """Return the length of the run in steps."""
        if self.steps is not None:
            return self.steps
        assert self.epochs is not None  # __post_init__ checks that one of the two is given
        return max(1, round(self.epochs * steps_per_epoch))
