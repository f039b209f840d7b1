"""Build everything that the loop works with from a recipe and a directory, at the step of the last checkpoint.

A run's directory:
    run.json        recipe, seed, commit, config, versions
    log.jsonl       one line per logged step and per validation
    state.pt        the state that --resume reads
    best/ final/    checkpoints that promptseg.load() reads; a recipe without validation writes no best/
    plots/          images, drawn at the end
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning_fabric import Fabric
from lightning_fabric.strategies.ddp import DDPStrategy
from torch import Tensor, nn
from torch.optim import Optimizer

from promptseg.errors import CheckpointError, DataError, OutputError, RecipeError
from promptseg.evaluate.provenance import git_commit
from promptseg.models.registry import load_network
from promptseg.train import log, optim, state
from promptseg.train.recipe import Batch, CacheOptions, Recipe
from promptseg.train.stream import stream_batches


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """Directories and devices of a run.

    Attributes:
        data_dir: Passed to the recipe's `build_data`.
        out_dir: Directory of the run.
        recipe_name: Name of the recipe in `run.json`.
        pseudo_dir: Directory of pseudo-masks, passed to the recipe's `build_data`.
        init: Name of a shipped model or directory of a checkpoint to start from; None: the recipe's own start.
        resume: Continue the run in `out_dir`.
        devices: Number of devices that share a batch.
        accelerator: Lightning Fabric's name of the kind of device.
        cache: Where features of the frozen tower are kept; None computes them in each step.
        show_progress: Draw a progress bar on stderr.
        draw_plots: Draw the plots after the last step.
        on_step: Called with the loss after each step.
    """

    data_dir: Path
    out_dir: Path
    recipe_name: str = "recipe"
    pseudo_dir: Path | None = None
    init: str | None = None
    resume: bool = False
    devices: int = 1
    accelerator: str = "auto"
    cache: CacheOptions | None = None
    show_progress: bool = True
    draw_plots: bool = True
    on_step: Callable[[float], None] | None = None


class OpaqueBatch:
    """A batch that Fabric does not look into: it would convert tensors inside dataclasses, also inside frozen ones."""

    def __init__(self, batch: Batch) -> None:
        self.batch = batch


class Objective(nn.Module):
    """Model and objective as one module: precision and data parallelism then wrap a single forward."""

    def __init__(self, recipe: Recipe, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self._step = recipe.step

    def forward(self, opaque: OpaqueBatch) -> dict[str, Tensor]:
        """Compute the losses and metrics of a batch, scalars."""
        losses = dict(self._step(self.model, opaque.batch))
        if "loss" not in losses:
            raise RecipeError(f"the recipe's step must return 'loss'; it returned {', '.join(losses) or 'nothing'}")
        return losses


@dataclass(frozen=True, kw_only=True)
class TrainRun:
    """Everything that the loop works with.

    Attributes:
        model: The recipe's model, without wrappers.
        objective: Model and objective, wrapped for precision and devices.
        average: Moving average of the weights, or None.
        batches: Batches from the first step that is not done.
        validation_source: Input of the recipe's `validate`.
        progress: Progress of the run; the one mutable part.
        log: None in every process but the first.
        frozen: Fingerprint of the frozen weights.
        commit: Commit of the code.
    """

    fabric: Fabric
    recipe: Recipe
    options: RunOptions
    model: nn.Module
    objective: nn.Module
    optimizer: Optimizer
    average: optim.WeightAverage | None
    batches: Iterator[Batch]
    validation_source: Any
    progress: state.Progress
    log: log.TrainLog | None
    steps_per_epoch: int
    total_steps: int
    frozen: str
    commit: str | None

    def kept_weights(self) -> Mapping[str, Tensor]:
        """Return the trained weights that are validated and saved: the moving average, if there is one."""
        return self.average.weights if self.average is not None else optim.trainable_parameters(self.model)

    def checkpoint(self) -> None:
        """Write the state that --resume reads."""
        self.progress.checkpoint_step = self.progress.step
        state.save_state(
            self.options.out_dir / state.STATE_FILE,
            progress=self.progress,
            config=self.recipe.config,
            commit=self.commit,
            frozen=self.frozen,
            model=self.model,
            optimizer=self.optimizer.state_dict(),
            scaler=self.fabric.strategy.precision.state_dict(),
            average=self.average.weights if self.average is not None else None,
        )


def start_run(recipe: Recipe, options: RunOptions) -> TrainRun:
    """Build model and data, and restore the last checkpoint of a run that is resumed.

    Raises:
        RecipeError: The recipe names something that does not exist.
        DataError: The data is missing or too small.
        OutputError: The run's directory can't be written, or it already holds a run and `resume` is not set.
        CheckpointError: `resume` is set and there is no run, or another run; or the checkpoint of `init` shares no
            weight with this model.
    """
    config = recipe.config
    _check_directories(options)
    fabric = _build_fabric(recipe, options)
    fabric.launch()

    state.seed_step(config.seed, step=0)
    model = recipe.build_model()
    facts: dict[str, str | int] = {}
    if options.init is not None:
        facts = {"init": options.init, "num_initialised": state.start_from(model, load_network(options.init))}
    source, validation_source = recipe.build_data(options.data_dir, options.pseudo_dir)
    if options.cache is not None:
        if recipe.cache_features is None:
            raise RecipeError(f"{options.recipe_name} can't use cached features: its Recipe has no cache_features")
        model.to(fabric.device)
        with fabric.rank_zero_first():
            source = recipe.cache_features(model, source, options.cache)
            validation_source = recipe.cache_features(model, validation_source, options.cache)
    steps_per_epoch = max(1, len(source) // config.batch_size)
    total_steps = config.total_steps(steps_per_epoch)
    optimizer = optim.build_optimizer(model, config)

    frozen = state.frozen_fingerprint(model)
    state_file = options.out_dir / state.STATE_FILE
    saved = state.load_state(state_file, config=config, frozen=frozen) if state_file.exists() else None
    if saved is not None:
        state.restore_model(model, saved["model"])
    objective, optimizer = fabric.setup(Objective(recipe, model), optimizer)
    average = optim.WeightAverage(model, config.ema_decay) if config.ema_decay else None
    if saved is not None:
        optimizer.load_state_dict(saved["optimizer"])
        fabric.strategy.precision.load_state_dict(saved["scaler"])
        if average is not None:
            average.load(saved["average"])
    progress = state.Progress(**saved["progress"]) if saved is not None else state.Progress()

    commit = git_commit()
    steps = range(progress.step, total_steps)
    batches = stream_batches(source, config, steps=steps, rank=fabric.global_rank, world_size=fabric.world_size)
    if fabric.is_global_zero and saved is None:
        log.write_run(
            options.out_dir,
            recipe_name=options.recipe_name,
            config=config,
            commit=commit,
            facts={
                **facts,
                "device": str(fabric.device),
                "num_devices": fabric.world_size,
                "num_items": len(source),
                "steps_per_epoch": steps_per_epoch,
                "total_steps": total_steps,
                "num_trainable": sum(p.numel() for p in optim.trainable_parameters(model).values()),
            },
        )
    return TrainRun(
        fabric=fabric, recipe=recipe, options=options, model=model, objective=objective, optimizer=optimizer,
        average=average, batches=batches, validation_source=validation_source, progress=progress,
        log=log.TrainLog(options.out_dir, step=progress.step) if fabric.is_global_zero else None,
        steps_per_epoch=steps_per_epoch, total_steps=total_steps, frozen=frozen, commit=commit,
    )  # fmt: skip


def _check_directories(options: RunOptions) -> None:
    if not options.data_dir.is_dir():
        raise DataError(f"data directory {options.data_dir} does not exist")
    if options.pseudo_dir is not None and not options.pseudo_dir.is_dir():
        raise DataError(f"pseudo-mask directory {options.pseudo_dir} does not exist")
    run_exists = (options.out_dir / log.RUN_FILE).exists()
    if run_exists and not options.resume:
        raise OutputError(f"{options.out_dir} already holds a run: continue it (--resume) or choose another --out")
    if options.resume and not run_exists:
        raise CheckpointError(f"there is no run to resume in {options.out_dir}")
    try:
        options.out_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{options.out_dir} can't be made: {error}") from error


def _build_fabric(recipe: Recipe, options: RunOptions) -> Fabric:
    # A batch need not hold every kind of phrase, so a head may get no gradient in one of the processes.
    strategy = DDPStrategy(find_unused_parameters=True) if options.devices > 1 else "auto"
    try:
        return Fabric(
            accelerator=options.accelerator,
            devices=options.devices,
            strategy=strategy,
            precision=recipe.config.precision,
        )
    except (ValueError, RuntimeError) as error:
        raise RecipeError(
            f"{options.devices} devices of kind {options.accelerator!r} are not available: {error}"
        ) from error
