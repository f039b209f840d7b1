"""`promptseg segment-everything`: every mask of an image, named from a list where a name fits."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from promptseg.cli.images import check_formats, segment_images
from promptseg.cli.options import AsJsonLines, Engine, EngineChoice, Formats, Images, Offline

if TYPE_CHECKING:
    from promptseg.results import Segmentation


def segment_everything(
    images: Images,
    names: Annotated[
        Path | None, typer.Option(help="Text file of names, one a line: masks that one fits are named.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="Write everything.png, overlay.png, the masks and result.json to a folder in here."
        ),
    ] = None,
    formats: Formats = None,
    as_json: AsJsonLines = False,
    masker: Annotated[
        str, typer.Option(help="Finds the masks: mobile-sam, sam2-hiera-tiny, sam-vit-base or a directory.")
    ] = "mobile-sam",
    model: Annotated[
        str | None, typer.Option(help="Knows the names: one that `promptseg models` lists, or a directory.")
    ] = None,
    points_per_side: Annotated[int, typer.Option(min=1, help="Points along each side of an image.")] = 32,
    crop_layers: Annotated[int, typer.Option(min=0, max=4, help="Layers of crops, for small objects.")] = 0,
    min_score: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="A mask's own score, about its IoU, must be above this.")
    ] = 0.88,
    min_stability: Annotated[
        float,
        typer.Option(min=0.0, max=1.0, help="How little a mask may depend on where it is cut; SAM's own is 0.95."),
    ] = 0.9,
    min_area: Annotated[int, typer.Option(min=0, help="Holes and islands of fewer pixels are removed.")] = 0,
    tile: Annotated[
        int | None, typer.Option(min=64, help="Search tiles of so many pixels too, for large images.")
    ] = None,
    engine: Engine = EngineChoice.auto,
    offline: Offline = False,
) -> None:
    """Find every object in photos, without being told what to look for.

    Without --out nothing is written: stdout says what was found.

    Exit code 1: some images failed. Each is named on stderr, the others are done.
    """
    from promptseg.everything import UNNAMED
    from promptseg.images import DEFAULT_LIMITS, LARGEST_LIMITS, list_images
    from promptseg.labeling import read_names
    from promptseg.ops.windows import Tiles
    from promptseg.prompts import to_queries
    from promptseg.sam.automatic import AutomaticSettings

    # What is wrong with the request is said before a model is loaded for it.
    paths = list_images(images)
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
    check_formats(formats or (), out)

    import torch

    from promptseg.everything import describe_origin
    from promptseg.everything import segment_everything as segment
    from promptseg.predictor import load
    from promptseg.runtime import resolve_engine
    from promptseg.runtime.graph_runner import GraphRunner
    from promptseg.sam.load import load_masker

    runner = None
    if (computes := resolve_engine(engine.value, torch.device("cpu"))) != "torch":
        runner = GraphRunner(
            "openvino",
            precision="bf16" if computes == "openvino-bf16" else "f32",
            num_threads=torch.get_num_threads(),
        )
    finder = load_masker(masker, runner=runner, offline=offline)
    predictor = load(model, device="cpu", engine=engine.value, offline=offline) if phrases else None

    segment_images(
        paths,
        lambda path: segment(
            finder,
            path,
            names=phrases,
            predictor=predictor,
            settings=settings,
            tiles=tiles,
            limits=DEFAULT_LIMITS if tiles is None else LARGEST_LIMITS,
        ),
        _save,
        out=out,
        formats=formats or (),
        classes=(*phrases, UNNAMED),
        origin=describe_origin(masker, predictor, settings, tiles),
        as_json=as_json,
    )


def _save(found: "Segmentation", folder: Path) -> str:
    from promptseg.everything import draw_everything
    from promptseg.ops.atomic import atomic_file

    num_files = len(found.save(folder)) + 1
    with atomic_file(folder / "everything.png") as temporary:
        draw_everything(found).save(temporary)
    return f"{num_files} files in {folder}"
