"""`promptseg models`: which models have a name."""

import json
from typing import Annotated

import typer


def models(as_json: Annotated[bool, typer.Option("--json", help="JSON instead of a table.")] = False) -> None:
    """List the models that have a name.

    --model takes those of status shipped (in the package), published (fetched when first used) and test (tiny, random);
    recipe: train it with `promptseg train`, then give its directory.
    """
    from promptseg.models.registry import MODELS

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
        typer.echo(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    lines = [("name", "status", "prompts", "trained", "license", "what")]
    for row in MODELS.values():
        trained = f"{row.num_trained / 1e6:.2f} M"
        lines.append((row.name, row.status, ", ".join(sorted(row.prompt_kinds)), trained, row.license, row.summary))
    widths = [max(len(cell) for cell in column) for column in zip(*lines, strict=True)]
    for line in lines:
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
