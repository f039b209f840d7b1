"""`promptseg evaluate`: measure a model on annotated images."""

from pathlib import Path
from typing import Annotated

import typer

from promptseg.cli.checks import check_device, check_gallery, check_output_file, read_mask_value
from promptseg.cli.evaluation import check_exemplar_sets, evaluate_maps, evaluate_sets, read_sets
from promptseg.cli.loading import load_predictor
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
    UnlabelledChoice,
)
from promptseg.cli.panoptic import read_classes_of


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
        Path | None, typer.Option(help="Draw the best, typical and worst masks to this file (PNG, JPEG or WebP).")
    ] = None,
    panoptic: Annotated[
        bool, typer.Option("--panoptic", help="Measure panoptic maps (PQ, mIoU), not the masks of single phrases.")
    ] = False,
    names: Annotated[
        Path | None,
        typer.Option(help="With --panoptic: text file of the classes of the map. Default: those of the annotation."),
    ] = None,
    unlabelled: Annotated[
        UnlabelledChoice,
        typer.Option(help="With --panoptic: keep pixels of which no class is sure, or fill them."),
    ] = UnlabelledChoice.keep,
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
    if not panoptic and names is not None:
        raise typer.BadParameter("it is for --panoptic", param_hint="--names")
    if panoptic and (gallery is not None or prompt is PromptChoice.exemplar):
        raise typer.BadParameter("it goes with neither --gallery nor --prompt exemplar", param_hint="--panoptic")
    check_device(device)
    check_output_file(out)
    check_gallery(gallery)
    chosen = read_sets(data, sets, pseudo=pseudo, only=only, limit=limit, mask_value=read_mask_value(mask_value))

    if panoptic:
        classes = None if names is None else read_classes_of(names, None)
        evaluate_maps(
            load_predictor(model, device=device, engine=engine.value, offline=offline),
            chosen,
            classes,
            model=model,
            seed=seed,
            out=out,
            resume=resume,
            unlabelled=unlabelled.value,
        )
        return
    by_example = prompt is PromptChoice.exemplar
    if by_example:
        check_exemplar_sets(chosen)
    predictor = load_predictor(model, device=device, engine=engine.value, offline=offline)
    evaluate_sets(
        predictor,
        chosen,
        model=model,
        seed=seed,
        out=out,
        gallery=gallery,
        resume=resume,
        by_example=by_example,
    )
