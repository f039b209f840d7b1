"""Options that mean the same in several commands."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, TypeAlias

import typer


class EngineChoice(StrEnum):
    """What computes the predictions."""

    auto = "auto"
    torch = "torch"
    openvino = "openvino"
    openvino_bf16 = "openvino-bf16"
    openvino_int8 = "openvino-int8"


class UnlabelledChoice(StrEnum):
    """What becomes of pixels of which no class is sure."""

    keep = "keep"
    fill = "fill"


class PromptChoice(StrEnum):
    """The kind of prompt that stands for a phrase."""

    text = "text"
    exemplar = "exemplar"


def list_model_names() -> list[str]:
    """List the names of models, for the completion of the shell."""
    from promptseg.models.registry import list_models

    return list(list_models())


# Written out: importing the format table would import numpy and slow down `--help`.
FORMAT_HELP = (
    "coco, coco-polygons, coco-panoptic, yolo, labelstudio, labelstudio-polygons, labelme, labelme-masks, voc, "
    "geojson, png or npz."
)

Images: TypeAlias = Annotated[
    list[str],
    typer.Argument(metavar="IMAGE", help="Images, folders, patterns such as 'photos/**/*.jpg'; - is standard input."),
]
Formats: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--format", "-f", help=f"Write a data set to a folder in --out; repeat it for more: {FORMAT_HELP}"),
]
Tolerance: TypeAlias = Annotated[
    float | None,
    typer.Option(
        min=0.0,
        help="Of polygons in data sets, pixels: corners are dropped where the outline moves by this at most; 0 keeps "
        "the exact mask. Default: 0.5.",
    ),
]
AsJsonLines: TypeAlias = Annotated[
    bool, typer.Option("--json", help="Print one line of JSON for each image on stdout.")
]
Model: TypeAlias = Annotated[
    str | None,
    typer.Option(
        autocompletion=list_model_names,
        help="Name of a model (see `promptseg models`) or directory of a checkpoint. Default: promptseg.",
    ),
]
Threshold: TypeAlias = Annotated[
    float | None,
    typer.Option(
        min=0.0, max=1.0, help="Presence below which a phrase counts as absent. Default: the model's own threshold."
    ),
]
Detector: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="Instead of --model: detect every object of each --text with promptseg, grounding-dino-tiny or -base, "
        "owlv2-base, yolo-world-v2-s (AGPL-3.0) or a checkpoint, and segment it with --masker."
    ),
]
Masker: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="mobile-sam or sam2-hiera-tiny: for points and boxes alone, instead of --model; or with --detector."
    ),
]
Tile: TypeAlias = Annotated[
    int | None,
    typer.Option(min=64, help="Also process overlapping tiles of this size (pixels), for large images."),
]
Stuff: TypeAlias = Annotated[
    str | None, typer.Option(help="Classes that are stuff, not counted one by one, separated by commas.")
]
Unlabelled: TypeAlias = Annotated[
    UnlabelledChoice,
    typer.Option(help="Pixels of which no class is sure: keep them free, or fill them with the best class there."),
]
MinScore: TypeAlias = Annotated[
    float | None, typer.Option(min=0.0, max=1.0, help="Minimum score of a segment. Default: the model's own.")
]
MinArea: TypeAlias = Annotated[
    int | None, typer.Option(min=0, help="Minimum number of pixels of a segment. Default: the model's own.")
]
Within: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="Look only here: x0,y0,x1,y1 in pixels, or the file of a mask. The region is cut out and segmented as an "
        "image of its own."
    ),
]
MaskValueText: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--mask-value",
        help="What is inside a mask of several classes: a number (gray value or palette index), a color such as "
        "255,0,0, or nonzero. Default: the one value besides 0.",
    ),
]
PseudoMaskFolder: TypeAlias = Annotated[
    Path | None, typer.Option(help="Directory of masks that `promptseg pseudo-masks` made.")
]
AnnotatedData: TypeAlias = Annotated[
    Path,
    typer.Option(
        help="Folder of images and masks, or a JSONL index (docs/data.md); with --set, the directory of the indexes."
    ),
]
IndexNames: TypeAlias = Annotated[
    list[str] | None, typer.Option("--set", help="Name of an index in --data, without .jsonl; repeat it for more.")
]
OnlyListed: TypeAlias = Annotated[
    Path | None, typer.Option(help="Text file of the images to use, one per line, named as in the records.")
]
ReportFile: TypeAlias = Annotated[
    Path | None,
    typer.Option("--out", "-o", help="Write a report (JSON) here, and the records of every pair beside it."),
]
BootstrapSeed: TypeAlias = Annotated[int, typer.Option(help="Seed of the bootstrap intervals.")]
Resume: TypeAlias = Annotated[bool, typer.Option("--resume", help="Continue from the records beside --out.")]
Device: TypeAlias = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")]
Engine: TypeAlias = Annotated[
    EngineChoice,
    typer.Option(
        help="Inference engine. auto: OpenVINO on a CPU (int8 or bf16 where the CPU supports it), else PyTorch."
    ),
]
Offline: TypeAlias = Annotated[bool, typer.Option("--offline", help="Do not download anything.")]
