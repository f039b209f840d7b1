"""`promptseg models`: list the models."""

from typing import Annotated

import typer

from promptseg.cli.output import dump_json


def models(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """List the models.

    --model takes those of status shipped (in the package), published (fetched when first used) and test (tiny, random).
    Train those of status recipe with `promptseg train`, then give the directory of the checkpoint.
    """
    from promptseg.models.table import MODELS

    if as_json:
        rows = [
            {
                "name": row.name,
                "status": row.status,
                "prompt_kinds": sorted(row.prompt_kinds),
                "num_trained": row.num_trained,
                "license": row.license,
                "paper": row.paper,
                "summary": row.summary,
            }
            for row in MODELS.values()
        ]
        typer.echo(dump_json(rows, indent=2))
        return
    lines = [("name", "status", "prompts", "trained", "license", "what")]
    for row in MODELS.values():
        trained = f"{row.num_trained / 1e6:.2f} M"
        lines.append((row.name, row.status, ", ".join(sorted(row.prompt_kinds)), trained, row.license, row.summary))
    widths = [max(len(cell) for cell in column) for column in zip(*lines, strict=True)]
    for line in lines:
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
