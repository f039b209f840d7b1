"""`promptseg predict`: phrases and images in, masks out."""

import itertools
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from promptseg.cli.checks import read_mask_value
from promptseg.cli.exemplar_options import FORM_HELP, collect_queries
from promptseg.cli.geometric_options import BOX_HELP, POINT_HELP, add_pointing, name_region, parse_within
from promptseg.cli.image_results import ImageResults, ResultKind, check_outputs, describe, find_images
from promptseg.cli.loading import ModelChoice
from promptseg.cli.options import (
    AsJsonLines,
    Detector,
    Device,
    Engine,
    EngineChoice,
    Formats,
    Images,
    Masker,
    MaskValueText,
    Model,
    Offline,
    Threshold,
    Tile,
    Tolerance,
    Within,
)
from promptseg.cli.remote import Server, Token, connect_predictor
from promptseg.errors import PromptError

if TYPE_CHECKING:
    from promptseg.client import RemotePredictor
    from promptseg.images import ImageSource
    from promptseg.predictor import Predictor
    from promptseg.prompts import BoxPrompt, MaskPrompt, Query
    from promptseg.results import Segmentation
    from promptseg.stored_values import MaskValue


def predict(
    images: Images,
    text: Annotated[
        list[str] | None,
        typer.Option("--text", "-t", help='What to find, for example "the cat\'s ear"; repeat it for more.'),
    ] = None,
    exemplar: Annotated[list[str] | None, typer.Option("--exemplar", "-x", help=FORM_HELP)] = None,
    point: Annotated[list[str] | None, typer.Option(help=POINT_HELP)] = None,
    box: Annotated[list[str] | None, typer.Option(help=BOX_HELP)] = None,
    within: Within = None,
    mask_value: MaskValueText = None,
    invert: Annotated[
        bool, typer.Option("--invert", help="Give everything but the object of each prompt, for example to erase it.")
    ] = False,
    model: Model = None,
    detector: Detector = None,
    masker: Masker = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Write overlay.png, the masks and result.json to a folder in here."),
    ] = None,
    formats: Formats = None,
    tolerance: Tolerance = None,
    as_json: AsJsonLines = False,
    threshold: Threshold = None,
    tile: Tile = None,
    device: Device = "auto",
    engine: Engine = EngineChoice.auto,
    offline: Offline = False,
    server: Server = None,
    token: Token = None,
) -> None:
    """Segment images by phrases, by example images, by points and boxes.

    Points and boxes belong to the one phrase that is given with them; without a phrase, to an object without a name.

    Prints what was found; files are written only with --out.

    Exit code 1: some images failed; each is named on stderr.
    """
    value = read_mask_value(mask_value)
    queries = read_queries(images, text or (), exemplar or (), point or (), box or (), mask_value=value)
    region = None if within is None else parse_within(within, mask_value=value)
    if value is not None and not _has_mask(queries, region):
        raise typer.BadParameter(
            "it is for the mask of an --exemplar or of --within: there is none", param_hint="--mask-value"
        )
    paths = find_images(images)
    chosen_model = ModelChoice(model, detector, masker, threshold, tile, device, engine.value, offline)
    chosen_model.check()
    check_outputs(out, formats or (), tolerance=tolerance)

    from promptseg.results.query_result import invert_label

    predictor: Predictor | RemotePredictor
    if server is not None:
        local = {
            "--detector": detector,
            "--tile": tile,
            "--device": None if device == "auto" else device,
            "--engine": None if engine is EngineChoice.auto else engine,
        }
        predictor = connect_predictor(server, token=token, model=masker or model, threshold=threshold, local=local)
    else:
        predictor = chosen_model.load()

    predictor.check_queries(queries)  # before a data set is opened
    classes = tuple(dict.fromkeys(invert_label(query.label) if invert else query.label for query in queries))
    with ImageResults(
        paths,
        out=out,
        formats=formats or (),
        classes=classes,
        origin=predictor.origin + name_region(within),
        as_json=as_json,
        tolerance=tolerance,
        kind=ResultKind(describe, lambda result: result, save),
    ) as results:
        results.segment_all(lambda image: _segment(predictor, image, queries, within=region, invert=invert))
    results.finish()


def read_queries(
    images: Sequence[str],
    texts: Sequence[str],
    exemplars: Sequence[str],
    points: Sequence[str],
    boxes: Sequence[str],
    *,
    mask_value: "MaskValue | None" = None,
) -> "tuple[Query, ...]":
    """Read all prompts.

    Raises:
        PromptError: There is none, or one is malformed. The message then hints
            at --text.
        ImageError: An exemplar can't be read.
    """
    from promptseg.prompts import to_queries
    from promptseg.results.background import find_objects

    if not (texts or exemplars or points or boxes):
        raise PromptError(
            "no prompt was given; use --text, --exemplar, --point or --box, for example: "
            f"--text {shlex.quote(_trailing_phrase(images) or 'cat')}"
        )
    queries = collect_queries(texts, exemplars, mask_value=mask_value)
    requested = add_pointing(to_queries(queries) if queries else (), points, boxes)
    find_objects(requested)  # a background alone is refused before anything is loaded
    return requested


def _segment(
    predictor: "Predictor | RemotePredictor",
    image: "ImageSource",
    queries: "Sequence[Query]",
    *,
    within: "BoxPrompt | MaskPrompt | None",
    invert: bool,
) -> "Segmentation":
    found = predictor.segment(image, queries, within=within)
    return found.inverted() if invert else found


def _has_mask(queries: "Sequence[Query]", region: "BoxPrompt | MaskPrompt | None") -> bool:
    """Whether any mask was read from a file."""
    prompts = (prompt for query in queries for prompt in query.prompts)
    has_region = region is not None and region.kind == "mask"
    return has_region or any(getattr(prompt, "mask", None) is not None for prompt in prompts)


def _trailing_phrase(images: Sequence[str]) -> str:
    """Join the last arguments that are no files: `predict photo.jpg red mug` leaves out --text."""
    words = itertools.takewhile(lambda word: not Path(word).suffix and not Path(word).exists(), reversed(images[1:]))
    return " ".join(reversed(list(words)))


def save(result: "Segmentation", folder: Path) -> str:
    """Save a result to a folder, and name the files."""
    overlay, *masks, document = result.save(folder)
    num_masks = f"{len(masks)} mask{'s' if len(masks) > 1 else ''} ({masks[0].name}"
    ending = ", ..." if len(masks) > 1 else ""
    return f"{overlay}, {num_masks}{ending}), {document.name}"
