"""Evaluate a model on this project's named sets.

python -m lab.evaluate --data DATA --pseudo MASKS --set coco_dev --set camvid_val --out report.json

The same options and reports as `promptseg evaluate`; the sets are those of `lab.sets.EVAL_SETS`, or training indexes.
"""

from pathlib import Path
from typing import Annotated

import typer

from lab.sets import EVAL_SETS, load_samples
from promptseg.cli.evaluate import gallery_of
from promptseg.cli.evaluation import describe_run, name_outputs, name_problems, publish, watch_records
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
from promptseg.data.jsonl import load_pseudo_mask_folder
from promptseg.data.layout import load_list
from promptseg.evaluate.data_source import select_samples
from promptseg.evaluate.evaluate_set import evaluate_set
from promptseg.predictor import load

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def evaluate(
    data: Annotated[Path, typer.Option(help="Directory of the index files and their images.")],
    sets: Annotated[list[str], typer.Option("--set", help="Name of a set; repeat it for more.")],
    prompt: Annotated[PromptChoice, typer.Option(help="Kind of prompt for each phrase.")] = PromptChoice.text,
    model: Model = None,
    out: ReportFile = None,
    gallery: Annotated[Path | None, typer.Option(help="Draw the best, typical and worst masks (PNG).")] = None,
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
    pseudo_masks = None if pseudo is None else load_pseudo_mask_folder(pseudo)
    ids = None if only is None else load_list(only)
    chosen = {
        name: select_samples(load_samples(name, data, pseudo_masks=pseudo_masks), name, only=ids, limit=limit)
        for name in sets
    }
    predictor = load(model, device=device, engine=engine.value, offline=offline)
    run = describe_run(predictor, model, seed)
    for samples in chosen.values():
        name_problems(samples.problems)
    reports = (
        evaluate_set(
            predictor,
            name,
            samples,
            run=run,
            outputs=name_outputs(name, out=out, gallery=gallery_of(gallery, name, len(chosen)), resume=resume),
            watch=watch_records(name, len(samples)),
            class_names=EVAL_SETS[name].class_names if name in EVAL_SETS else (),
            by_example=prompt is PromptChoice.exemplar,
        )
        for name, samples in chosen.items()
    )
    publish(reports, out)


if __name__ == "__main__":
    app()
