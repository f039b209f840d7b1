"""`promptseg calibrate`: fit a model's thresholds on annotated images."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import track

from promptseg.cli.checks import check_device, check_output_file
from promptseg.cli.evaluation import read_sets
from promptseg.cli.loading import load_predictor
from promptseg.cli.options import (
    AnnotatedData,
    Device,
    Engine,
    EngineChoice,
    IndexNames,
    Model,
    Offline,
    OnlyListed,
    PseudoMaskFolder,
)
from promptseg.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from promptseg.data.sample import SampleSet
    from promptseg.predictor import Predictor


def calibrate(
    data: AnnotatedData,
    sets: IndexNames = None,
    model: Model = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write the thresholds (JSON) here too.")] = None,
    keep: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            max=1.0,
            help="Share of the present phrases that must stay above the presence threshold. Default: best balance.",
        ),
    ] = None,
    pseudo: PseudoMaskFolder = None,
    only: OnlyListed = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Use only the first images of each set.")] = None,
    device: Device = "auto",
    engine: Engine = EngineChoice.auto,
    offline: Offline = False,
) -> None:
    """Fit a model's mask threshold, presence threshold and presence calibration on your own annotated images.

    Prints them as JSON, named as in a checkpoint's config.json. Use images that the model was not trained on.
    """
    check_device(device)
    check_output_file(out)
    chosen = read_sets(data, sets, pseudo=pseudo, only=only, limit=limit)

    predictor = load_predictor(model, device=device, engine=engine.value, offline=offline)
    write_thresholds(predictor, chosen, out=out, keep=keep)


def write_thresholds(
    predictor: "Predictor", chosen: "Mapping[str, SampleSet]", *, out: Path | None, keep: float | None
) -> None:
    """Fit the thresholds on all samples, print them, and write them to `out`.

    Raises:
        CheckpointError: The model has no thresholds that can be fitted.
        DataError: The thresholds can't be fitted on these samples.
        OutputError: The file can't be written.
    """
    from promptseg.evaluate.fit_thresholds import fit_thresholds
    from promptseg.ops.atomic import atomic_file

    current: tuple[float, float] | None = getattr(predictor.config, "presence_calibration", None)
    if current is None:
        raise CheckpointError(f"{predictor.name} has no thresholds of its own that could be fitted")
    samples = [sample for samples in chosen.values() for sample in samples]
    calibration = fit_thresholds(
        predictor,
        track(samples, "calibrating", console=Console(stderr=True), transient=True),
        current=current,
        min_present_kept=keep,
    )
    text = json.dumps(asdict(calibration) | {"sets": list(chosen), "num_images": len(samples)}, indent=2)
    if out is not None:
        with atomic_file(out) as temporary:
            temporary.write_text(text + "\n", encoding="utf-8")
    typer.echo(text)
