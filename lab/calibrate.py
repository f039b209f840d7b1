"""Fit a model's thresholds on this project's training sets; evaluation sets are refused.

python -m lab.calibrate --data DATA --set coco_train --only held_out.txt --out thresholds.json

The same options and output as `promptseg calibrate`. --only lists the images that training left out.
"""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from lab.sets import load_calibration_set
from promptseg.cli.calibrate import write_thresholds
from promptseg.cli.evaluation import select_sets
from promptseg.cli.options import Device, Engine, EngineChoice, Model, Offline, OnlyListed, PseudoMaskFolder
from promptseg.loading import load

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def calibrate(
    data: Annotated[Path, typer.Option(help="Directory of the index files and their images.")],
    sets: Annotated[list[str], typer.Option("--set", help="Name of a training set; repeat it for more.")],
    model: Model = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write the thresholds (JSON) here too.")] = None,
    keep: Annotated[float | None, typer.Option(min=0.0, max=1.0, help="Share of the present phrases to keep.")] = None,
    pseudo: PseudoMaskFolder = None,
    only: OnlyListed = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Use only the first images of each set.")] = None,
    device: Device = "auto",
    engine: Engine = EngineChoice.auto,
    offline: Offline = False,
) -> None:
    """Fit a model's thresholds on this project's training sets."""
    loaders = {name: partial(load_calibration_set, name, data) for name in sets}
    chosen = select_sets(loaders, pseudo=pseudo, only=only, limit=limit)
    predictor = load(model, device=device, engine=engine.value, offline=offline)
    write_thresholds(predictor, chosen, out=out, keep=keep)


if __name__ == "__main__":
    app()
