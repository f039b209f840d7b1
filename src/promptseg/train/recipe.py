"""A recipe: a Python file that defines the model, the data and the objective of a training run.

    def recipe() -> Recipe: ...

is all that the loop looks for. A file with variants has `recipe(variant)` and is given as FILE.py:VARIANT. The
interfaces are narrow: a source makes items and batches, an objective turns a model and a batch into losses, a
validation turns a model and a source into numbers.
"""

import importlib.util
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
import torch
from torch import Tensor, nn

from promptseg.errors import RecipeError
from promptseg.models.checkpoint import save_pretrained
from promptseg.train.config import TrainConfig


class Batch(Protocol):
    """The input of an objective; the loop itself uses only these two members."""

    @property
    def sample_ids(self) -> Sequence[str]:
        """Names of the samples, for the error message when a loss is not finite."""
        ...

    def to(self, device: torch.device) -> Self:
        """Return the same batch with its tensors on another device."""
        ...


class TrainSource(Protocol):
    """Training items, numbered from 0. It must be picklable: worker processes get a copy."""

    def __len__(self) -> int:
        """Return the number of items in an epoch."""
        ...

    def item(self, index: int, rng: np.random.Generator) -> Any:
        """Make one item.

        Every random choice must come from `rng`. The loop seeds it with (seed, epoch, index), so that an item is the
        same in every process and after every resume.
        """
        ...

    def collate(self, items: list[Any]) -> Batch:
        """Join items into a batch."""
        ...


@dataclass(frozen=True)
class CacheOptions:
    """Directory of the features of a frozen tower, and the most bytes that they may take; None: no limit."""

    root: Path
    limit_bytes: int | None = None


@dataclass(frozen=True)
class ValidationExample:
    """One (image, phrase) of the validation set with the prediction, for plots and galleries.

    Attributes:
        image_rgb: Shape (H, W, 3), uint8.
        phrase: The text prompt.
        truth: Ground truth, shape (H, W), bool.
        prediction: Predicted mask, shape (H, W), bool, at the model's threshold.
        iou: Intersection over union of the two; unlabeled pixels are left out.
        predicted_iou: The model's own estimate of it.
    """

    image_rgb: np.ndarray
    phrase: str
    truth: np.ndarray
    prediction: np.ndarray
    iou: float
    predicted_iou: float


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The parts of a training run.

    Attributes:
        config: The numbers of the run.
        build_model: Builds the model; `requires_grad` separates trained from frozen parts. Called under the seed.
        build_data: (data directory, pseudo-mask directory or None) to (training source, validation source). The
            validation source is whatever `validate` takes.
        step: The objective: (model, batch) to scalar tensors by name. "loss" is minimized; all are logged.
        validate: (model, validation source) to numbers by name. Runs without gradient, in the run's precision. None:
            nothing is validated, and the run writes `final` but no `best`.
        save: (model, directory) writes a checkpoint that `promptseg.load(directory)` reads.
        examine: (model, validation source) to examples for the plots, after the last step, with the best weights.
            None leaves out the plots that need examples.
        cache_features: (model, source, options) to a source whose items carry the frozen tower's features instead of
            images; called for both sources when `--cache` is given. None: the recipe can't use cached features.
    """

    config: TrainConfig
    build_model: Callable[[], nn.Module]
    build_data: Callable[[Path, Path | None], tuple[TrainSource, Any]]
    step: Callable[[Any, Any], Mapping[str, Tensor]]
    validate: Callable[[Any, Any], Mapping[str, float]] | None
    save: Callable[[Any, Path], None] = save_pretrained
    examine: Callable[[Any, Any], Iterator[ValidationExample]] | None = None
    cache_features: Callable[[Any, Any, CacheOptions], Any] | None = None


def load_recipe(path: Path) -> Recipe:
    """Run a recipe file and call its `recipe()`.

    A recipe is code and runs with the rights of the caller.

    Args:
        path: The file, or FILE.py:VARIANT for what `recipe("VARIANT")` returns.

    Raises:
        RecipeError: The file is missing, is not Python, has no `recipe()` or no such variant, or `recipe` does not
            return a `Recipe`.
    """
    file, separator, variant = str(path).rpartition(".py:")
    if separator:
        path = Path(f"{file}.py")
    if path.suffix != ".py" or not path.is_file():
        raise RecipeError(f"{path} is not a recipe: give a Python file with a function recipe()")
    spec = importlib.util.spec_from_file_location(f"promptseg_recipe_{path.stem}", path)
    assert spec is not None and spec.loader is not None  # so it is for every existing .py file
    module = importlib.util.module_from_spec(spec)
    # Worker processes find the recipe's classes by the module's name.
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except (SyntaxError, ImportError, NameError, AttributeError) as error:
        raise RecipeError(f"{path} can't be loaded: {type(error).__name__}: {error}") from error
    if not callable(getattr(module, "recipe", None)):
        raise RecipeError(f"{path} has no function recipe()")
    if separator and not inspect.signature(module.recipe).parameters:
        raise RecipeError(f"{path} has no variants, so none called {variant!r}")
    recipe = module.recipe(variant) if separator else module.recipe()
    if not isinstance(recipe, Recipe):
        raise RecipeError(f"recipe() in {path} returned {type(recipe).__name__}, not promptseg.train.recipe.Recipe")
    return recipe
