"""Load a model for a command, and report on stderr what takes long."""

from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from promptseg.predictor import Predictor


def load_predictor(model: str | None, **options: Any) -> "Predictor":
    """Load a model; show the fetching of weights, and name what is compiled for the first time.

    Args:
        model: As `promptseg.load`.
        options: As `promptseg.load`.
    """
    from promptseg.loading import load
    from promptseg.weights import progress_bar

    with progress_bar() as report:
        return load(model, progress=report, report_compile=tell_compile(), **options)


def check_parts(model: str | None, detector: str | None, masker: str | None) -> None:
    """Check that what is to compute is named once.

    Raises:
        BadParameter: A model and a part that stands for it are given.
    """
    for part, hint in ((masker, "--masker"), (detector, "--detector")):
        if part is not None and model is not None:
            raise typer.BadParameter(f"give --model or {hint}, not both", param_hint=hint)


def load_parts(
    model: str | None, *, detector: str | None, masker: str | None, tile: int | None, **options: Any
) -> "Predictor":
    """Load a model, or a detector with a masker, or a masker for points and boxes alone; see `check_parts`.

    Args:
        model: As `promptseg.load`.
        detector: Of "langsam"; None: there is none.
        masker: Of "langsam", or instead of a model.
        tile: Side of tiles, pixels; None: images are not cut.
        options: As `promptseg.load`.
    """
    parts = {name: part for name, part in (("detector", detector), ("masker", masker)) if part is not None}
    if detector is not None:
        predictor = load_predictor("langsam", **parts, **options)
    else:
        predictor = load_predictor(masker or model, **options)
    return predictor if tile is None else predictor.tiled(tile)


def tell_compile() -> Any:
    """Give what tells of graphs that are compiled: a line each, and before the first one why."""
    compiled: list[str] = []

    def tell(name: str) -> None:
        if not compiled:
            typer.echo("first use on this machine: compiling the model for its processor, for about a minute", err=True)
        compiled.append(name)
        typer.echo(f"compiling {name} ({len(compiled)})", err=True)

    return tell
