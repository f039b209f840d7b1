"""Fit a model's thresholds on this project's training sets; evaluation sets are refused.

python -m lab.calibrate --data DATA --set coco_train --only held_out.txt --out thresholds.json

The same options and output as `promptseg calibrate`. --only lists the images that training left out.
"""

from pathlib import Path
from typing import Annotated

import typer

from lab.sets import load_calibration_set
from promptseg.cli.calibrate import write_thresholds
from promptseg.cli.evaluation import name_problems
from promptseg.cli.options import Device, Engine, EngineChoice, Model, Offline, OnlyListed, PseudoMaskFolder
from promptseg.data.jsonl import load_pseudo_mask_folder
from promptseg.data.layout import load_list
from promptseg.evaluate.data_source import select_samples
from promptseg.predictor import load

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
    pseudo_masks = None if pseudo is None else load_pseudo_mask_folder(pseudo)
    ids = None if only is None else load_list(only)
    chosen = {
        name: select_samples(load_calibration_set(name, data, pseudo_masks=pseudo_masks), name, only=ids, limit=limit)
        for name in sets
    }
    for samples in chosen.values():
        name_problems(samples.problems)
    predictor = load(model, device=device, engine=engine.value, offline=offline)
    write_thresholds(predictor, chosen, out=out, keep=keep)


if __name__ == "__main__":
    app()
