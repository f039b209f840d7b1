"""Options that mean the same in several commands."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, TypeAlias

import typer


class EngineChoice(StrEnum):
    """What computes."""

    auto = "auto"
    torch = "torch"
    openvino = "openvino"
    openvino_bf16 = "openvino-bf16"


# Spelled out, for the table itself would import numpy, and `--help` is to answer at once.
FORMAT_HELP = (
    "coco, coco-polygons, coco-panoptic, yolo, labelstudio, labelstudio-polygons, labelme, labelme-masks, voc, "
    "geojson, png or npz."
)

Images: TypeAlias = Annotated[
    list[str], typer.Argument(metavar="PHOTO", help="Images, folders, and patterns such as 'photos/**/*.jpg'.")
]
Formats: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--format", "-f", help=f"Write a data set to a folder in --out; repeat it for more: {FORMAT_HELP}"),
]
AsJsonLines: TypeAlias = Annotated[bool, typer.Option("--json", help="One line of JSON for each image on stdout.")]
Model: TypeAlias = Annotated[
    str | None, typer.Option(help="A name that `promptseg models` lists, or a checkpoint's directory.")
]
Threshold: TypeAlias = Annotated[
    float | None,
    typer.Option(min=0.0, max=1.0, help="Presence below which a thing is absent; else the model's own."),
]
MadeMasks: TypeAlias = Annotated[
    Path | None, typer.Option(help="Directory of masks that `promptseg pseudo-masks` made.")
]
Device: TypeAlias = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")]
Engine: TypeAlias = Annotated[
    EngineChoice, typer.Option(help="What computes; auto: OpenVINO on a CPU (bf16 where it has it), else torch.")
]
Offline: TypeAlias = Annotated[bool, typer.Option("--offline", help="Fetch nothing.")]
