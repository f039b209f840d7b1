"""`promptseg version`: the installed versions, and the device that `auto` takes."""

import json
import platform
from typing import Annotated

import typer


def version(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of lines.")] = False,
) -> None:
    """Show the installed versions, and the device that `auto` takes. `promptseg --version` is faster."""
    from importlib.metadata import version as installed_version

    from promptseg.runtime.engine import resolve_device

    facts = {name: installed_version(name) for name in ("promptseg", "torch", "transformers", "openvino")}
    facts["python"] = platform.python_version()
    facts["device"] = str(resolve_device("auto"))
    if as_json:
        typer.echo(json.dumps(facts, indent=2))
        return
    for name, fact in facts.items():
        typer.echo(f"{name:<12}  {fact}")


def print_version(value: bool) -> None:
    """Print the version of promptseg and end the command, for `--version`."""
    if value:
        from importlib.metadata import version as installed_version

        typer.echo(f"promptseg {installed_version('promptseg')}")
        raise typer.Exit
