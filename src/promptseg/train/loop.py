"""The training loop. There is one; recipes define what differs between runs."""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from promptseg.errors import RecipeError, TrainingError
from promptseg.train import optim
from promptseg.train.progress import ProgressBar
from promptseg.train.recipe import Batch, Recipe
from promptseg.train.run import OpaqueBatch, RunOptions, TrainRun, start_run
from promptseg.train.state import replace_directory, seed_step


@dataclass(frozen=True)
class TrainOutcome:
    """The end of a run.

    Attributes:
        steps: Updates done.
        best_step: Step with the best validation metric; the last step where nothing is validated.
        best_value: That metric; None where nothing is validated.
        stopped_early: Whether the run ended before its last step, because the metric no longer improved.
    """

    steps: int
    best_step: int
    best_value: float | None
    stopped_early: bool


def train(recipe: Recipe, options: RunOptions) -> TrainOutcome:
    """Run a recipe from its first step, or from the last checkpoint, to its end.

    Raises:
        RecipeError: The recipe names something that does not exist.
        DataError: The data is missing or too small.
        OutputError: The run's directory can't be written, or it already holds a run and `resume` is not set.
        CheckpointError: `resume` is set and there is no run, or another run.
        TrainingError: A loss or gradient is not finite; the last checkpoint is kept.
    """
    run = start_run(recipe, options)
    config, fabric, progress, optimizer = recipe.config, run.fabric, run.progress, run.optimizer
    warmup_steps = round(config.warmup_epochs * run.steps_per_epoch)
    evaluate_every = config.evaluate_every or run.steps_per_epoch

    optim.set_train_mode(run.model)
    with ProgressBar(run.total_steps, progress.step, enabled=options.show_progress and fabric.is_global_zero) as bar:
        while progress.step < run.total_steps and not _is_stale(run):
            started = time.perf_counter()
            batch = fabric.to_device(next(run.batches))
            seed_step(config.seed, progress.step, fabric.global_rank)
            learning_rate = config.learning_rate * optim.lr_factor(
                progress.step,
                warmup_steps=warmup_steps,
                total_steps=run.total_steps,
                final_ratio=config.final_lr_ratio,
                drops=config.lr_drops,
            )
            optim.set_learning_rate(optimizer, learning_rate)

            losses = run.objective(OpaqueBatch(batch))
            _check_finite(run, "loss", losses["loss"], batch)
            fabric.backward(losses["loss"])
            # With a gradient scaler an overflow is normal: the scaler skips that update and lowers its scale.
            norm = fabric.clip_gradients(run.objective, optimizer, max_norm=config.clip_norm, error_if_nonfinite=False)
            assert norm is not None  # Fabric gives none only when it clips by value
            if config.precision != "16-mixed":
                _check_finite(run, "gradient", norm, batch)
            optimizer.step()
            optimizer.zero_grad()
            if run.average is not None:
                run.average.update(run.model, progress.step)
            progress.step += 1
            at_end = progress.step == run.total_steps

            progress.add({**losses, "gradient_norm": norm, "seconds": time.perf_counter() - started})
            loss = losses["loss"].item()
            bar.advance(loss=loss, learning_rate=learning_rate)
            if options.on_step is not None:
                options.on_step(loss)
            if progress.step % config.log_every == 0 or at_end:
                _log_means(run, learning_rate)
            if validates := recipe.validate is not None and (progress.step % evaluate_every == 0 or at_end):
                bar.show(**{config.metric: _validate(run)})
                optim.set_train_mode(run.model)
            if fabric.is_global_zero and (validates or at_end or progress.step % config.checkpoint_every == 0):
                run.checkpoint()

    if fabric.is_global_zero:
        _save_model(run, "final")
        if options.draw_plots:
            _draw_plots(run)
    fabric.barrier()
    best_step = progress.step if progress.best_value is None else progress.best_step
    return TrainOutcome(progress.step, best_step, progress.best_value, progress.step < run.total_steps)


def _validate(run: TrainRun) -> float:
    """Validate the weights that a checkpoint would hold, save them if they are the best so far, return the metric."""
    config, progress = run.recipe.config, run.progress
    assert run.recipe.validate is not None  # else the loop does not validate
    metrics: Mapping[str, float] = {}
    if run.fabric.is_global_zero:
        run.model.eval()
        with optim.swapped_weights(run.model, run.kept_weights()), torch.no_grad(), run.fabric.autocast():
            metrics = run.recipe.validate(run.model, run.validation_source)
    metrics = run.fabric.broadcast(metrics)
    value = metrics.get(config.metric)
    if value is None or not math.isfinite(value):
        raise RecipeError(
            f"validation returned no finite {config.metric!r}, which selects the best weights: {dict(metrics)}"
        )
    if run.log is not None:
        run.log.write("validation", progress.step, epoch=progress.step / run.steps_per_epoch, **metrics)

    sign = 1.0 if config.metric_goal == "max" else -1.0
    if progress.best_value is not None and sign * value <= sign * progress.best_value:
        progress.num_stale += 1
        return value
    progress.best_value, progress.best_step, progress.num_stale = value, progress.step, 0
    progress.best_weights = {name: weight.detach().cpu().clone() for name, weight in run.kept_weights().items()}
    if run.fabric.is_global_zero:
        _save_model(run, "best")
    return value


def _is_stale(run: TrainRun) -> bool:
    """Return whether the metric has not improved for `patience` validations."""
    patience = run.recipe.config.patience
    return patience is not None and run.progress.num_stale >= patience


def _save_model(run: TrainRun, name: str) -> None:
    with optim.swapped_weights(run.model, run.kept_weights()):
        replace_directory(run.options.out_dir / name, lambda directory: run.recipe.save(run.model, directory))


def _draw_plots(run: TrainRun) -> None:
    """Draw the curves, and with the best weights the plots that need examples."""
    from promptseg.train.plots import draw_run  # matplotlib takes a second to import, and runs without plots skip it

    best_weights = run.progress.best_weights or run.kept_weights()
    with optim.swapped_weights(run.model, best_weights), torch.no_grad(), run.fabric.autocast():
        run.model.eval()
        examples = run.recipe.examine(run.model, run.validation_source) if run.recipe.examine else iter(())
        draw_run(run.options.out_dir, examples)


def _log_means(run: TrainRun, learning_rate: float) -> None:
    """Write the means since the last line, over all devices, and reset them."""
    means = {name: run.fabric.all_reduce(torch.tensor(mean)) for name, mean in run.progress.take_means().items()}
    if run.log is not None:
        epoch = run.progress.step / run.steps_per_epoch
        numbers = {name: float(mean) for name, mean in means.items() if isinstance(mean, Tensor)}
        run.log.write("train", run.progress.step, epoch=epoch, learning_rate=learning_rate, **numbers)


def _check_finite(run: TrainRun, what: str, value: Tensor, batch: Batch) -> None:
    """Raise before a value that is not finite reaches the weights."""
    if torch.isfinite(value):
        return
    step, kept = run.progress.step, run.progress.checkpoint_step
    raise TrainingError(
        f"the {what} is {value.item()} at step {step + 1} (epoch {step // run.steps_per_epoch + 1}), "
        f"samples {', '.join(batch.sample_ids)}; "
        + (f"the last good checkpoint is that of step {kept}" if kept else "there is no checkpoint yet")
    )
