"""`promptseg predict`: phrases and images in, masks out."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from promptseg.cli.exemplars import FORM_HELP, collect_queries
from promptseg.cli.images import check_formats, segment_images
from promptseg.cli.options import (
    AsJsonLines,
    Device,
    Engine,
    EngineChoice,
    Formats,
    Images,
    Model,
    Offline,
    Threshold,
)
from promptseg.cli.pointing import BOX_HELP, POINT_HELP, add_pointing

if TYPE_CHECKING:
    from promptseg.results import Segmentation


def predict(
    images: Images,
    text: Annotated[
        list[str] | None,
        typer.Option("--text", "-t", help='What to find, for example "the cat\'s ear"; repeat it for more.'),
    ] = None,
    exemplar: Annotated[list[str] | None, typer.Option("--exemplar", "-x", help=FORM_HELP)] = None,
    point: Annotated[list[str] | None, typer.Option(help=POINT_HELP)] = None,
    box: Annotated[list[str] | None, typer.Option(help=BOX_HELP)] = None,
    model: Model = None,
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
    formats: Formats = None,
    as_json: AsJsonLines = False,
    threshold: Threshold = None,
    tile: Annotated[
        int | None, typer.Option(min=64, help="Look at tiles of so many pixels too, for large images.")
    ] = None,
    device: Device = "auto",
    engine: Engine = EngineChoice.auto,
    offline: Offline = False,
) -> None:
    """Find things in photos by phrases, by examples in other images, by points and boxes.

    Points and boxes belong to the one phrase that is given with them, or to a thing without a name.

    Without --out nothing is written: stdout says what was found.

    Exit code 1: some images failed. Each is named on stderr, the others are done.
    """
    from promptseg.images import list_images
    from promptseg.prompts import to_queries

    # What is wrong with the request is said before a model is loaded for it.
    paths = list_images(images)
    asked = collect_queries(text or (), exemplar or ())
    pointed = bool(point or box)
    queries = add_pointing(() if pointed and not asked else to_queries(asked), point or (), box or ())
    for part, hint in ((masker, "--masker"), (detector, "--detector")):
        if part is not None and model is not None:
            raise typer.BadParameter(f"give --model or {hint}, not both", param_hint=hint)
    check_formats(formats or (), out)

    from promptseg.models.grounded_sam.config import LangSamConfig
    from promptseg.predictor import load
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
    segment_images(
        paths,
        lambda path: predictor.segment(path, queries),
        _save,
        out=out,
        formats=formats or (),
        classes=tuple(dict.fromkeys(query.label for query in queries)),
        origin=predictor.origin,
        as_json=as_json,
    )


def _save(found: "Segmentation", folder: Path) -> str:
    overlay, *masks, document = found.save(folder)
    num_masks = f"{len(masks)} mask{'s' if len(masks) > 1 else ''} ({masks[0].name}"
    ending = ", ..." if len(masks) > 1 else ""
    return f"{overlay}, {num_masks}{ending}), {document.name}"
