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


def tell_compile() -> Any:
    """Give what tells of graphs that are compiled: a line each, and before the first one why."""
    compiled: list[str] = []

    def tell(name: str) -> None:
        if not compiled:
            typer.echo("first use on this machine: compiling the model for its processor, for about a minute", err=True)
        compiled.append(name)
        typer.echo(f"compiling {name} ({len(compiled)})", err=True)

    return tell
