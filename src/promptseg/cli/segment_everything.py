"""`promptseg segment-everything`: every mask of an image, labeled from a list where a name fits."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from promptseg._wording import counted
from promptseg.cli.geometric_options import name_region, read_region
from promptseg.cli.image_results import ImageResults, ResultKind, check_outputs, describe, find_images
from promptseg.cli.loading import load_predictor, tell_compile
from promptseg.cli.options import (
    AsJsonLines,
    Engine,
    EngineChoice,
    Formats,
    Images,
    MaskValueText,
    Offline,
    Tolerance,
    Within,
)

if TYPE_CHECKING:
    from promptseg.results import Segmentation
    from promptseg.sam.automatic import ReportBatches


def segment_everything(
    images: Images,
    names: Annotated[
        Path | None, typer.Option(help="Text file of names, one per line; masks that a name fits are labeled.")
    ] = None,
    within: Within = None,
    mask_value: MaskValueText = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="Write everything.png, overlay.png, the masks and result.json to a folder in here."
        ),
    ] = None,
    formats: Formats = None,
    tolerance: Tolerance = None,
    as_json: AsJsonLines = False,
    masker: Annotated[
        str,
        typer.Option(
            help="Finds the masks: mobile-sam, sam2-hiera-tiny, sam-vit-base, or a directory with a SAM or a Uni-OVSeg."
        ),
    ] = "mobile-sam",
    model: Annotated[
        str | None,
        typer.Option(help="Labels the masks: name of a model (see `promptseg models`) or directory of a checkpoint."),
    ] = None,
    points_per_side: Annotated[int, typer.Option(min=1, help="Number of points along each side of an image.")] = 32,
    crop_layers: Annotated[int, typer.Option(min=0, max=4, help="Layers of crops, for small objects.")] = 0,
    min_score: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Minimum predicted IoU of a mask (SAM uses 0.88).")
    ] = 0.88,
    min_stability: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Minimum stability score of a mask (SAM uses 0.95).")
    ] = 0.9,
    min_area: Annotated[int, typer.Option(min=0, help="Remove holes and islands of fewer pixels.")] = 0,
    tile: Annotated[
        int | None,
        typer.Option(min=64, help="Also process overlapping tiles of this size (pixels), for large images."),
    ] = None,
    engine: Engine = EngineChoice.auto,
    offline: Offline = False,
) -> None:
    """Segment every object of an image, without a prompt.

    Prints what was found; files are written only with --out.

    Exit code 1: some images failed; each is named on stderr.
    """
    region = read_region(within, mask_value=mask_value)
    paths = find_images(images)
    check_outputs(out, formats or (), tolerance=tolerance)

    from promptseg.everything import UNNAMED
    from promptseg.images import DEFAULT_LIMITS, LARGEST_LIMITS, name_image
    from promptseg.labeling import read_names
    from promptseg.ops.windows import Tiles
    from promptseg.prompts import to_queries
    from promptseg.sam.automatic import AutomaticSettings

    phrases = () if names is None else read_names(names)
    if phrases:
        to_queries(phrases)
    settings = AutomaticSettings(
        points_per_side=points_per_side,
        pred_iou_thresh=min_score,
        stability_score_thresh=min_stability,
        crop_n_layers=crop_layers,
        min_mask_region_area=min_area,
    )
    tiles = None if tile is None else Tiles(tile, tile // 4)

    from promptseg.everything import describe_origin
    from promptseg.everything import segment_everything as segment
    from promptseg.models.registry import LoadOptions, load_promptable
    from promptseg.runtime import Runtime

    runtime = Runtime.choose(engine.value, "cpu", tell_compile())
    finder = load_promptable(masker, LoadOptions(runtime, offline))
    predictor = load_predictor(model, device="cpu", engine=engine.value, offline=offline) if phrases else None
    limits = DEFAULT_LIMITS if tiles is None else LARGEST_LIMITS
    with ImageResults(
        paths,
        out=out,
        formats=formats or (),
        classes=(*phrases, UNNAMED),
        origin=describe_origin(masker, predictor, settings, tiles) + name_region(within),
        as_json=as_json,
        tolerance=tolerance,
        kind=ResultKind(partial(describe, given_labels=(UNNAMED,)), lambda result: result, save),
    ) as results:
        results.segment_all(
            lambda path: segment(
                finder,
                path,
                names=phrases,
                predictor=predictor,
                settings=settings,
                tiles=tiles,
                limits=limits,
                report=report_share(name_image(path)),
                within=region,
            )
        )
    results.finish()


def report_share(name: str) -> "ReportBatches":
    """Return a callback that reports on stderr how far the search in an image is, in tenths."""
    reported = {0}

    def report(done: int, total: int) -> None:
        tenths = 10 * done // total
        if tenths not in reported and total > 1:
            reported.add(tenths)
            typer.echo(f"{name}: searched {10 * tenths} %", err=True)

    return report


def save(result: "Segmentation", folder: Path) -> str:
    """Save a result and a drawing of all its masks to a folder, and count the files."""
    from promptseg.everything import draw_everything
    from promptseg.ops.atomic import atomic_file

    num_files = len(result.save(folder)) + 1
    with atomic_file(folder / "everything.png") as temporary:
        draw_everything(result).save(temporary)
    return f"{counted(num_files, 'file')} in {folder}"
