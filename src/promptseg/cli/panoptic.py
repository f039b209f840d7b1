"""`promptseg panoptic`: images and a list of classes in, a map with one segment for each pixel out."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from promptseg.cli.checks import check_device
from promptseg.cli.geometric_options import name_region, read_region
from promptseg.cli.image_results import ImageResults, ResultKind, check_outputs, find_images
from promptseg.cli.loading import load_predictor
from promptseg.cli.options import (
    AsJsonLines,
    Device,
    Engine,
    EngineChoice,
    Formats,
    Images,
    MaskValueText,
    MinArea,
    MinScore,
    Model,
    Offline,
    Stuff,
    Threshold,
    Tolerance,
    Unlabelled,
    UnlabelledChoice,
    Within,
)

if TYPE_CHECKING:
    from promptseg.language.class_list import NamedClass
    from promptseg.predictor import Predictor
    from promptseg.prompts import BoxPrompt, MaskPrompt
    from promptseg.results.panoptic import Panoptic


def panoptic(
    images: Images,
    names: Annotated[
        Path | None,
        typer.Option(
            help="Text file of classes, one per line: synonyms after commas, \\[thing] or \\[stuff] at the end. "
            "Default: a list of everyday names."
        ),
    ] = None,
    stuff: Stuff = None,
    unlabelled: Unlabelled = UnlabelledChoice.keep,
    min_score: MinScore = None,
    min_area: MinArea = None,
    within: Within = None,
    mask_value: MaskValueText = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="Write panoptic-overlay.png, panoptic.png, semantic.png and panoptic.json to a folder in here.",
        ),
    ] = None,
    formats: Formats = None,
    tolerance: Tolerance = None,
    as_json: AsJsonLines = False,
    model: Model = None,
    threshold: Threshold = None,
    device: Device = "auto",
    engine: Engine = EngineChoice.auto,
    offline: Offline = False,
) -> None:
    """Give every pixel of an image a class of a list; things are counted one by one.

    Prints what was found; files are written only with --out. Run it again to continue after an interruption.

    Exit code 1: some images failed; each is named on stderr.
    """
    classes = read_classes_of(names, stuff)
    region = read_region(within, mask_value=mask_value)
    paths = find_images(images)
    check_outputs(out, formats or ())
    check_device(device)
    tell_kinds(classes)

    predictor = load_predictor(model, device=device, engine=engine.value, offline=offline, threshold=threshold)
    with ImageResults(
        paths,
        out=out,
        formats=formats or (),
        classes=tuple(one.label for one in classes),
        stuff=tuple(one.label for one in classes if not one.is_thing),
        origin=f"{predictor.origin}, panoptic: {unlabelled.value}, score {min_score}, area {min_area}"
        + name_region(within),
        as_json=as_json,
        tolerance=tolerance,
        kind=ResultKind(
            describe,
            lambda result: result.to_segmentation(),
            save,
            is_done=partial(
                is_done,
                request=describe_request(predictor, classes, unlabelled, min_score, min_area),
                within=region,
            ),
        ),
    ) as results:
        results.segment_all(
            lambda path: predictor.panoptic(
                path, classes, unlabelled=unlabelled.value, min_score=min_score, min_area=min_area, within=region
            )
        )
    results.finish()


def read_classes_of(names: Path | None, stuff: str | None) -> "tuple[NamedClass, ...]":
    """Read the classes; empty lines of the file are named on stderr.

    Raises:
        PromptError: A class is malformed.
    """
    from promptseg.language.class_list import read_class_list
    from promptseg.panoptic_map import read_classes

    said = [name.strip() for name in (stuff or "").split(",") if name.strip()]
    if names is None:
        return read_classes(None, stuff=said)
    skipped: list[str] = []
    classes = read_class_list(names, stuff=said, skipped=skipped)
    for place in skipped:
        typer.echo(f"{place} is empty: skipped", err=True)
    return classes


def tell_kinds(classes: "tuple[NamedClass, ...]") -> None:
    """Tell on stderr how classes without a mark were told apart."""
    for decided_by, source in (("table", "tables"), ("wordnet", "WordNet"), ("default", "default (unknown words)")):
        for kind in ("thing", "stuff"):
            labels = [one.label for one in classes if (one.decided_by, one.kind) == (decided_by, kind)]
            if labels:
                shown = ", ".join(labels[:8]) + (f" and {len(labels) - 8} more" if len(labels) > 8 else "")
                typer.echo(f"{kind} by {source}: {shown}", err=True)


def describe_request(
    predictor: "Predictor",
    classes: "tuple[NamedClass, ...]",
    unlabelled: UnlabelledChoice,
    min_score: float | None,
    min_area: int | None,
) -> dict[str, Any]:
    """Describe a request as `panoptic.json` states it."""
    return {
        "fingerprint": predictor.fingerprint,
        "presence_threshold": predictor.presence_threshold,
        "unlabelled": unlabelled.value,
        "min_score": min_score,
        "min_area": min_area,
        "classes": [(one.label, list(one.synonyms), one.is_thing) for one in classes],
    }


def is_done(
    path: Path, folder: Path, *, request: dict[str, Any], within: "BoxPrompt | MaskPrompt | None" = None
) -> bool:
    """Whether a folder holds the map of an image for the same request, in the same region."""
    from promptseg.errors import DataError, OutsideImageError
    from promptseg.regions import SearchRegion
    from promptseg.results.panoptic_files import read_panoptic_file

    try:
        document = read_panoptic_file(folder)
    except DataError:
        return False
    classes = [(one["label"], one["synonyms"], one["is_thing"]) for one in document["classes"]]
    stated = {**{name: document.get(name) for name in request}, "classes": classes}
    if stated != request or document["image"]["source"] != str(path):
        return False
    if within is None:
        return document.get("within") is None
    try:
        region = SearchRegion.read(within, tuple(document["size_hw"]))
    except OutsideImageError:
        return False
    return bool(document.get("within") == region.to_rle())


def describe(path: Path, result: "Panoptic") -> str:
    """Describe a map in a few lines: classes by their area, number of things, share of the image."""
    num_pixels = result.segment_ids.size
    labels = list(dict.fromkeys(segment.label for segment in result.segments))
    width = max((len(label) for label in (*labels, "(no class)")), default=0)
    lines = [str(path)]
    for label in labels:
        own = [segment for segment in result.segments if segment.label == label]
        counted = f", {len(own)} object{'s' if len(own) > 1 else ''}" if own[0].is_thing else ""
        share = sum(segment.area for segment in own) / num_pixels
        lines.append(f"  {max(segment.score for segment in own):.2f}  {label:<{width}}  {share:.1%}{counted}")
    lines.append(f"        {'(no class)':<{width}}  {result.unlabelled_share:.1%}")
    return "\n".join(lines)


def save(result: "Panoptic", folder: Path) -> str:
    """Save a map to a folder, and name the files."""
    overlay, *others = result.save(folder)
    return f"{overlay}, {', '.join(path.name for path in others)}"
