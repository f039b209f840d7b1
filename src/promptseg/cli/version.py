"""`promptseg version`: what is installed here, and what it would compute on."""

import json
import platform
from importlib.metadata import version as installed_version
from typing import Annotated

import typer


def version(as_json: Annotated[bool, typer.Option("--json", help="JSON instead of lines.")] = False) -> None:
    """Show the versions that matter, and the device that `auto` takes."""
    from promptseg.predictor import resolve_device

    facts = {name: installed_version(name) for name in ("promptseg", "torch", "transformers", "openvino")}
    facts["python"] = platform.python_version()
    facts["device"] = str(resolve_device("auto"))
    if as_json:
        typer.echo(json.dumps(facts, indent=2))
        return
    for name, fact in facts.items():
        typer.echo(f"{name:<12}  {fact}")
