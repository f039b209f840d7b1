"""`promptseg predict`: phrases and pictures in, masks out."""

import json
from collections import Counter
from contextlib import ExitStack
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from promptseg.cli.exemplars import FORM_HELP, collect_queries
from promptseg.cli.pointing import BOX_HELP, POINT_HELP, add_pointing
from promptseg.errors import ImageError

if TYPE_CHECKING:
    from promptseg.results import Segmentation


# Spelled out, for the table itself would import numpy, and `--help` is to answer at once.
FORMAT_HELP = (
    "coco, coco-polygons, coco-panoptic, yolo, labelstudio, labelstudio-polygons, labelme, labelme-masks, voc, "
    "geojson, png or npz."
)


class EngineChoice(StrEnum):
    """What computes."""

    auto = "auto"
    torch = "torch"
    openvino = "openvino"
    openvino_bf16 = "openvino-bf16"


def predict(
    pictures: Annotated[
        list[str],
        typer.Argument(metavar="PHOTO", help="Pictures, folders, and patterns such as 'photos/**/*.jpg'."),
    ],
    text: Annotated[
        list[str] | None,
        typer.Option("--text", "-t", help='What to find, for example "the cat\'s ear"; repeat it for more.'),
    ] = None,
    exemplar: Annotated[list[str] | None, typer.Option("--exemplar", "-x", help=FORM_HELP)] = None,
    point: Annotated[list[str] | None, typer.Option(help=POINT_HELP)] = None,
    box: Annotated[list[str] | None, typer.Option(help=BOX_HELP)] = None,
    model: Annotated[
        str | None, typer.Option(help="A name that `promptseg models` lists, or a checkpoint's directory.")
    ] = None,
    detector: Annotated[
        str | None,
        typer.Option(
            help="Every object of every --text, instead of --model: promptseg, grounding-dino-tiny or -base, "
            "owlv2-base, yolo-world-v2-s (AGPL-3.0) or a path finds boxes, and --masker draws what is in them."
        ),
    ] = None,
    masker: Annotated[
        str | None,
        typer.Option(
            help="mobile-sam or sam2-hiera-tiny: for --point and --box alone, instead of --model; or with --detector."
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Write overlay.png, the masks and result.json to a folder in here."),
    ] = None,
    formats: Annotated[
        list[str] | None,
        typer.Option(
            "--format", "-f", help=f"Write a data set to a folder in --out; repeat it for more: {FORMAT_HELP}"
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One line of JSON for each picture on stdout.")] = False,
    threshold: Annotated[
        float | None,
        typer.Option(min=0.0, max=1.0, help="Presence below which a thing is absent; else the model's own."),
    ] = None,
    tile: Annotated[
        int | None, typer.Option(min=64, help="Look at tiles of so many pixels too, for large pictures.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")] = "auto",
    engine: Annotated[EngineChoice, typer.Option(help="What computes; auto takes the fastest.")] = EngineChoice.auto,
    offline: Annotated[bool, typer.Option("--offline", help="Fetch nothing.")] = False,
) -> None:
    """Find things in photos by phrases, by examples in other pictures, by points and boxes.

    Points and boxes belong to the one phrase that is given with them, or to a thing without a name.

    Without --out nothing is written: stdout says what was found.

    Exit code 1: some pictures failed. Each is named on stderr, the others are done.
    """
    from promptseg.formats.dataset import DatasetWriter
    from promptseg.formats.table import find_format
    from promptseg.images import list_pictures
    from promptseg.prompts import to_queries

    # What is wrong with the request is said before a model is loaded for it.
    paths = list_pictures(pictures)
    asked = collect_queries(text or (), exemplar or ())
    pointed = bool(point or box)
    queries = add_pointing(() if pointed and not asked else to_queries(asked), point or (), box or ())
    for part, hint in ((masker, "--masker"), (detector, "--detector")):
        if part is not None and model is not None:
            raise typer.BadParameter(f"give --model or {hint}, not both", param_hint=hint)
    folders = name_folders(paths)
    classes = tuple(dict.fromkeys(query.label for query in queries))
    for name in formats or ():
        find_format(name)
    if formats and out is None:
        raise typer.BadParameter("say where to with --out", param_hint="--format")

    from promptseg.models.langsam import LangSamConfig
    from promptseg.predict import load
    from promptseg.weights import progress_bar

    parts = LangSamConfig(detector, masker or LangSamConfig.masker) if detector is not None else None
    with progress_bar() as report:
        predictor = load(
            parts or masker or model,
            device=device,
            engine=engine.value,
            offline=offline,
            threshold=threshold,
            progress=report,
        )
    if tile is not None:
        predictor = predictor.tiled(tile)
    num_failed = 0
    console = Console(stderr=True)
    columns = (TextColumn("segmenting"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    is_quiet = not console.is_terminal or len(paths) == 1
    with ExitStack() as stack:
        writers = [
            stack.enter_context(DatasetWriter(out / name, format=name, classes=classes, origin=predictor.origin))
            for name in formats or ()
            if out is not None
        ]
        progress = stack.enter_context(Progress(*columns, console=console, disable=is_quiet, transient=True))
        for path in progress.track(paths):
            try:
                found = predictor.segment(path, queries)
                for writer in writers:
                    writer.add(str(path), found, path=path)
            except ImageError as error:
                num_failed += 1
                typer.echo(f"error: {error}", err=True)
                if as_json:
                    typer.echo(json.dumps({"picture": str(path), "error": str(error)}, ensure_ascii=False))
                continue
            if as_json:
                typer.echo(json.dumps({"picture": str(path), **found.to_dict()}, ensure_ascii=False))
            else:
                typer.echo(describe(path, found))
            if out is not None and not writers:
                overlay, *masks, document = found.save(out / folders[path])
                num_masks = f"{len(masks)} mask{'s' if len(masks) > 1 else ''} ({masks[0].name}"
                ending = ", ..." if len(masks) > 1 else ""
                typer.echo(f"written: {overlay}, {num_masks}{ending}), {document.name}", err=True)
    for writer in writers:
        typer.echo(f"written: {writer.directory}, {len(writer)} pictures as {writer.format.name}", err=True)
    if num_failed:
        typer.echo(f"{num_failed} of {len(paths)} pictures failed", err=True)
        raise typer.Exit(1)


def name_folders(paths: list[Path]) -> dict[Path, str]:
    """Give each picture a folder name of its own: its stem, or its whole name and a number where stems clash.

    Names that differ in case only clash too: some file systems take them for one.
    """
    stems = Counter(path.stem.casefold() for path in paths)
    names: dict[Path, str] = {}
    taken: set[str] = set()
    for path in paths:
        name = path.stem if stems[path.stem.casefold()] == 1 else path.name.replace(".", "-")
        while name.casefold() in taken:
            name += "-2"
        taken.add(name.casefold())
        names[path] = name
    return names


def describe(path: Path, found: "Segmentation") -> str:
    """Say in a few lines what was found: presence, label, objects, share of the picture."""
    width = max(len(result.label) for result in found)
    lines = [str(path)]
    for result in found:
        if result.is_present:
            objects = "1 object" if len(result.instances) == 1 else f"{len(result.instances)} objects"
            said = f"{objects}, {result.mask.mean():.1%} of the picture"
        else:
            said = "absent"
        lines.append(f"  {result.presence:.2f}  {result.label:<{width}}  {said}")
    return "\n".join(lines)
