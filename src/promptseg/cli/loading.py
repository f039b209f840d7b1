"""Load a model for a command, and report on stderr what takes long."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import typer

from promptseg.cli.checks import check_device

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


@dataclass(frozen=True)
class ModelChoice:
    """The model of a command: a model, a detector with a masker, or a masker for points and boxes alone.

    Attributes:
        model: As `promptseg.load`.
        detector: Of "langsam"; None: there is none.
        masker: Of "langsam", or instead of a model.
        threshold: As `promptseg.load`.
        tile: Side of tiles, pixels; None: images are not cut.
        device: As `promptseg.load`.
        engine: As `promptseg.load`.
        offline: As `promptseg.load`.
    """

    model: str | None
    detector: str | None
    masker: str | None
    threshold: float | None
    tile: int | None
    device: str
    engine: str
    offline: bool

    def check(self) -> None:
        """Check that what is to compute is named once, and that this machine has the device.

        Raises:
            BadParameter: A model and a part that stands for it are given.
            EngineError: There is no such device.
        """
        for part, hint in ((self.masker, "--masker"), (self.detector, "--detector")):
            if part is not None and self.model is not None:
                raise typer.BadParameter(f"give --model or {hint}, not both", param_hint=hint)
        check_device(self.device)

    def load(self) -> "Predictor":
        """Load it; see `check`."""
        options: dict[str, Any] = {
            "threshold": self.threshold,
            "device": self.device,
            "engine": self.engine,
            "offline": self.offline,
        }
        if self.detector is None:
            predictor = load_predictor(self.masker or self.model, **options)
        else:
            parts = {} if self.masker is None else {"masker": self.masker}
            predictor = load_predictor("langsam", detector=self.detector, **parts, **options)
        return predictor if self.tile is None else predictor.tiled(self.tile)


def tell_compile() -> Any:
    """Give what tells of graphs that are compiled: a line each, and before the first one why."""
    compiled: list[str] = []

    def tell(name: str) -> None:
        if not compiled:
            typer.echo("first use on this machine: compiling the model for its processor, for about a minute", err=True)
        compiled.append(name)
        typer.echo(f"compiling {name} ({len(compiled)})", err=True)

    return tell
