"""Commands that write, for disks that are full: the killed ones, saved results, and every format of data sets."""

from functools import partial
from pathlib import Path

from scenarios import MODEL, Scenario, list_scenarios, run_command

from promptseg.formats.table import FORMATS


def list_writers(root: Path) -> list[Scenario]:
    """List the commands; the inputs are in a folder."""
    photos = root / "photos"
    return [
        *list_scenarios(root).values(),
        Scenario("predict", partial(_predict, photos, ())),
        *(Scenario(f"predict {name}", partial(_predict, photos, ("--format", name))) for name in FORMATS),
    ]


def _predict(photos: Path, options: tuple[str, ...], out: Path) -> None:
    run_command("predict", photos / "0.png", photos / "1.png", "-t", "cat", *options, "--out", out / "found", *MODEL)
