"""`promptseg export`: a model in, a folder of graphs for other runtimes out."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from promptseg.cli.options import Model, Offline


class ExportChoice(StrEnum):
    """The file format of exported graphs."""

    onnx = "onnx"
    openvino = "openvino"


def export(
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", help="Folder to write; an earlier export in it is replaced.")
    ],
    format: Annotated[
        ExportChoice, typer.Option("--format", "-f", help="onnx needs the extra export; openvino writes .xml and .bin.")
    ] = ExportChoice.onnx,
    model: Model = None,
    offline: Offline = False,
) -> None:
    """Write a model as graphs that other runtimes compute: C++, a browser, or Python without PyTorch.

    The folder holds the graphs, config.json, the vocabulary, README.md, and run.py, which segments a photo with them.
    """
    from promptseg.export import export_model
    from promptseg.weights import progress_bar

    with progress_bar() as progress:
        paths = export_model(
            directory,
            model,
            format=format.value,
            offline=offline,
            progress=progress,
            report=lambda name: typer.echo(f"writing {name}", err=True),
        )
    num_bytes = sum(path.stat().st_size for path in paths)
    typer.echo(f"{directory}: {', '.join(path.name for path in paths)} ({num_bytes / 1e6:.1f} MB)")
