"""A recipe: the Python file that says what to train, on what, towards what.

    def recipe() -> Recipe: ...

is all that the loop looks for; a file with variants has `recipe(variant)` too and is given as FILE.py:VARIANT. The
borders are narrow on purpose: a source makes items and batches, an objective turns a model and a batch into losses, a
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
    """What an objective gets; the loop itself uses nothing but these two."""

    @property
    def sample_ids(self) -> Sequence[str]:
        """Named in the error when a loss is not finite."""
        ...

    def to(self, device: torch.device) -> Self:
        """The same batch with its tensors on another device."""
        ...


class TrainSource(Protocol):
    """Training items, numbered from 0; must be picklable, because worker processes get a copy."""

    def __len__(self) -> int:
        """Items in an epoch."""
        ...

    def item(self, index: int, rng: np.random.Generator) -> Any:
        """Make one item.

        Every random choice comes from `rng`, which the loop seeds with (seed, epoch, index): the item is then the same
        in whichever process and after whichever resume it is made.
        """
        ...

    def collate(self, items: list[Any]) -> Batch:
        """Join items into a batch."""
        ...


@dataclass(frozen=True)
class CacheOptions:
    """Where a frozen tower's features are kept, and how much they may take; None: whatever they need."""

    root: Path
    limit_bytes: int | None = None


@dataclass(frozen=True)
class Case:
    """One (image, phrase) of the validation set with what the model said, for plots and galleries.

    Attributes:
        image_rgb: Shape (H, W, 3), uint8.
        phrase: What was asked for.
        truth: Shape (H, W), bool.
        prediction: Shape (H, W), bool, at the model's threshold.
        iou: Intersection over union of the two, pixels that nobody knows left out.
        predicted_iou: What the model expected it to be.
    """

    image_rgb: np.ndarray
    phrase: str
    truth: np.ndarray
    prediction: np.ndarray
    iou: float
    predicted_iou: float


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What a training run consists of.

    Attributes:
        config: Its numbers.
        build_model: Makes the model, trainable and frozen parts told apart by `requires_grad`. Called under the seed.
        build_data: (data directory, pseudo-mask directory or None) to (training source, validation source). The
            validation source is whatever `validate` takes.
        step: The objective: (model, batch) to scalar tensors by name. "loss" is minimized; all are logged.
        validate: (model, validation source) to numbers by name. Runs without gradient, in the run's precision.
        save: (model, directory) writes what `promptseg.load(directory)` reads.
        examine: (model, validation source) to cases for the plots, after the last step, with the best weights. None
            leaves out the plots that need cases.
        cache_features: (model, source, options) to a source whose items carry the frozen tower's features
            instead of pixels; called for both sources when `--cache` is given. None means the recipe can't.
    """

    config: TrainConfig
    build_model: Callable[[], nn.Module]
    build_data: Callable[[Path, Path | None], tuple[TrainSource, Any]]
    step: Callable[[Any, Any], Mapping[str, Tensor]]
    validate: Callable[[Any, Any], Mapping[str, float]]
    save: Callable[[Any, Path], None] = save_pretrained
    examine: Callable[[Any, Any], Iterator[Case]] | None = None
    cache_features: Callable[[Any, Any, CacheOptions], Any] | None = None


def load_recipe(path: Path) -> Recipe:
    """Run a recipe file and call its `recipe()`.

    A recipe is code and runs with the rights of the caller, as any Python file that one starts does.

    Args:
        path: The file, or FILE.py:VARIANT for what `recipe("VARIANT")` returns.

    Raises:
        RecipeError: The file is missing, is no Python, has no `recipe()` or no such variant, or that returns something
            else.
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
