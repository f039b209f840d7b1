"""`promptseg train`: run a recipe."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from promptseg._extras import require
from promptseg.cli.options import PseudoMaskFolder


def train(
    recipe: Annotated[
        Path,
        typer.Argument(help="Python file with a function recipe(); FILE.py:VARIANT where it has variants."),
    ],
    data: Annotated[Path, typer.Option(help="Directory of the training data; the recipe defines its layout.")],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Directory of the run; best/ and final/ in it are checkpoints.")
    ],
    pseudo: PseudoMaskFolder = None,
    init: Annotated[
        str | None, typer.Option(help="Initialize from this model or checkpoint, where names and shapes agree.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in --out, exactly.")] = False,
    epochs: Annotated[float | None, typer.Option(help="Number of epochs, instead of the recipe's.")] = None,
    steps: Annotated[int | None, typer.Option(help="Number of updates, instead of --epochs.")] = None,
    seed: Annotated[int | None, typer.Option(help="Random seed, instead of the recipe's.")] = None,
    devices: Annotated[int, typer.Option(min=1, help="Number of GPUs that share each batch.")] = 1,
    accelerator: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    workers: Annotated[int | None, typer.Option(min=0, help="Processes that prepare batches.")] = None,
    cache: Annotated[
        Path | None, typer.Option(help="Cache the frozen image encoder's features in this directory.")
    ] = None,
    cache_gb: Annotated[float | None, typer.Option(min=0.0, help="Maximum size of --cache, in GB.")] = None,
) -> None:
    """Train a model by a recipe. Progress goes to stderr, the outcome to stdout as JSON.

    An interrupted run continues with --resume and ends with the same weights as an uninterrupted one.
    """
    if epochs is not None and steps is not None:
        raise typer.BadParameter("give --epochs or --steps, not both")
    require("lightning_fabric", extra="train")
    require("matplotlib", extra="train")
    from promptseg.train.loop import train as run_training
    from promptseg.train.recipe import CacheOptions, load_recipe
    from promptseg.train.run import RunOptions

    loaded = load_recipe(recipe)
    config = loaded.config
    if epochs is not None or steps is not None:
        config = replace(config, epochs=epochs, steps=steps)
    config = replace(
        config,
        seed=config.seed if seed is None else seed,
        num_workers=config.num_workers if workers is None else workers,
    )
    outcome = run_training(
        replace(loaded, config=config),
        RunOptions(
            data_dir=data,
            out_dir=out,
            recipe_name=recipe.name,
            pseudo_dir=pseudo,
            init=init,
            resume=resume,
            devices=devices,
            accelerator=accelerator,
            cache=CacheOptions(cache, None if cache_gb is None else int(cache_gb * 1e9)) if cache else None,
        ),
    )
    typer.echo(
        json.dumps(
            {
                "best": str(out / "best"),
                config.metric: outcome.best_value,
                "best_step": outcome.best_step,
                "steps": outcome.steps,
                "stopped_early": outcome.stopped_early,
            }
        )
    )
