"""Evaluate a model on this project's named sets.

python -m lab.evaluate --data DATA --pseudo MASKS --set coco_dev --set camvid_val --out report.json

The same options and reports as `promptseg evaluate`; the sets are those of `lab.sets.EVAL_SETS`, or training indexes.
"""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from lab.sets import EVAL_SETS, load_samples
from promptseg.cli.checks import check_device, check_gallery, check_output_file
from promptseg.cli.evaluation import evaluate_sets, select_sets
from promptseg.cli.loading import load_predictor
from promptseg.cli.options import (
    BootstrapSeed,
    Device,
    Engine,
    EngineChoice,
    Model,
    Offline,
    OnlyListed,
    PromptChoice,
    PseudoMaskFolder,
    ReportFile,
    Resume,
)

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def evaluate(
    data: Annotated[Path, typer.Option(help="Directory of the index files and their images.")],
    sets: Annotated[list[str], typer.Option("--set", help="Name of a set; repeat it for more.")],
    prompt: Annotated[PromptChoice, typer.Option(help="Kind of prompt for each phrase.")] = PromptChoice.text,
    model: Model = None,
    out: ReportFile = None,
    gallery: Annotated[
        Path | None, typer.Option(help="Draw the best, typical and worst masks (PNG, JPEG or WebP).")
    ] = None,
    pseudo: PseudoMaskFolder = None,
    only: OnlyListed = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Use only the first images of each set.")] = None,
    device: Device = "auto",
    engine: Engine = EngineChoice.auto,
    seed: BootstrapSeed = 0,
    resume: Resume = False,
    offline: Offline = False,
) -> None:
    """Evaluate a model on this project's named sets; exit code 1: some images failed."""
    check_device(device)
    check_output_file(out)
    check_gallery(gallery)
    loaders = {name: partial(load_samples, name, data) for name in sets}
    chosen = select_sets(loaders, pseudo=pseudo, only=only, limit=limit)
    evaluate_sets(
        load_predictor(model, device=device, engine=engine.value, offline=offline),
        chosen,
        model=model,
        seed=seed,
        out=out,
        gallery=gallery,
        resume=resume,
        by_example=prompt is PromptChoice.exemplar,
        class_names={name: EVAL_SETS[name].class_names for name in sets if name in EVAL_SETS},
    )


if __name__ == "__main__":
    app()
