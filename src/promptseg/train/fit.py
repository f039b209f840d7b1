"""Train a model that is in memory, in place, with the training loop."""

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from promptseg.models.checkpoint import save_pretrained
from promptseg.train.config import TrainConfig
from promptseg.train.log import LOG_FILE, read_log
from promptseg.train.loop import train
from promptseg.train.optim import only_trainable
from promptseg.train.recipe import Recipe, TrainSource
from promptseg.train.run import RunOptions


def fit_model(
    model: nn.Module,
    source: TrainSource,
    step: Callable[[Any, Any], Mapping[str, Tensor]],
    config: TrainConfig,
    *,
    trainable: tuple[str, ...],
    run_dir: Path | None = None,
    resume: bool = False,
    on_step: Callable[[float], None] | None = None,
) -> list[float]:
    """Train some parameters of a model in place; everything else stays as it is.

    Args:
        model: What is trained; its weights are those after the last step.
        source: Training items.
        step: The objective, see `Recipe.step`.
        config: Numbers of the run; every step is logged, whatever its `log_every`.
        trainable: Prefixes of the names of the parameters that are trained.
        run_dir: Directory for the log, the state and the trained model; None: a temporary one.
        resume: Continue the run in `run_dir`.
        on_step: Called with the loss after each step.

    Returns:
        The loss of each step, also of steps before a resume.

    Raises:
        DataError: The source has fewer items than a batch.
        OutputError: `run_dir` can't be written, or it already holds a run and `resume` is not set.
        CheckpointError: `resume` is set and there is no run, or another run.
        TrainingError: A loss or gradient is not finite.
    """
    recipe = Recipe(
        config=replace(config, log_every=1),
        build_model=lambda: model,
        build_data=lambda data_dir, pseudo_dir: (source, None),
        step=step,
        validate=None,
        save=_save_nothing if run_dir is None else save_pretrained,
    )
    was_training = model.training
    with only_trainable(model, trainable), _directory(run_dir) as out_dir:
        options = RunOptions(
            data_dir=Path(),  # not read: the source holds its data
            out_dir=out_dir,
            recipe_name="fit_model",
            resume=resume,
            accelerator=next(model.parameters()).device.type,
            show_progress=False,
            draw_plots=run_dir is not None,
            on_step=on_step,
        )
        train(recipe, options)
        lines = read_log(out_dir / LOG_FILE)
    model.train(was_training)
    return [line["loss"] for line in lines if line["kind"] == "train"]


def _save_nothing(model: nn.Module, directory: Path) -> None:
    """Make the directory alone: a checkpoint in a temporary directory is never read."""
    directory.mkdir()


@contextmanager
def _directory(run_dir: Path | None) -> Iterator[Path]:
    if run_dir is not None:
        yield run_dir
        return
    with tempfile.TemporaryDirectory(prefix="promptseg-fit-") as directory:
        yield Path(directory) / "run"
