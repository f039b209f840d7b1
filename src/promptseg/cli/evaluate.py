"""`promptseg evaluate`: measure a model on annotated images."""

from pathlib import Path
from typing import Annotated

import typer

from promptseg.cli.checks import check_device, check_output_file, read_mask_value
from promptseg.cli.evaluation import describe_run, name_outputs, publish, read_sets, watch_records
from promptseg.cli.options import (
    AnnotatedData,
    BootstrapSeed,
    Device,
    Engine,
    EngineChoice,
    IndexNames,
    MaskValueText,
    Model,
    Offline,
    OnlyListed,
    PromptChoice,
    PseudoMaskFolder,
    ReportFile,
    Resume,
)


def evaluate(
    data: AnnotatedData,
    sets: IndexNames = None,
    prompt: Annotated[
        PromptChoice,
        typer.Option(help="Prompt for each phrase: text, or exemplar: another image of the set that shows it."),
    ] = PromptChoice.text,
    model: Model = None,
    out: ReportFile = None,
    gallery: Annotated[
        Path | None, typer.Option(help="Draw the best, typical and worst masks to this file (PNG).")
    ] = None,
    pseudo: PseudoMaskFolder = None,
    only: OnlyListed = None,
    mask_value: MaskValueText = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Use only the first images of each set.")] = None,
    device: Device = "auto",
    engine: Engine = EngineChoice.auto,
    seed: BootstrapSeed = 0,
    resume: Resume = False,
    offline: Offline = False,
) -> None:
    """Measure a model on your own annotated images.

    Prints a table of metrics; --out keeps every number. Exit code 1: some images failed; each is named on stderr.
    """
    check_device(device)
    check_output_file(out)
    check_output_file(gallery)
    chosen = read_sets(data, sets, pseudo=pseudo, only=only, limit=limit, mask_value=read_mask_value(mask_value))

    from promptseg.evaluate.evaluate_set import evaluate_set
    from promptseg.predictor import load

    predictor = load(model, device=device, engine=engine.value, offline=offline)
    run = describe_run(predictor, model, seed)
    reports = (
        evaluate_set(
            predictor,
            name,
            samples,
            run=run,
            outputs=name_outputs(name, out=out, gallery=gallery_of(gallery, name, len(chosen)), resume=resume),
            watch=watch_records(name, len(samples)),
            by_example=prompt is PromptChoice.exemplar,
        )
        for name, samples in chosen.items()
    )
    publish(reports, out)


def gallery_of(gallery: Path | None, name: str, num_sets: int) -> Path | None:
    """Name the gallery of one set: the file itself, or one per set where there are several."""
    if gallery is None or num_sets == 1:
        return gallery
    return gallery.with_name(f"{gallery.stem}.{name}.png")
