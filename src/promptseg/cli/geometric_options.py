"""Points and boxes on the command line."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from promptseg.cli.checks import read_mask_value
from promptseg.errors import ImageError, PromptError

if TYPE_CHECKING:
    from promptseg.prompts import BoxPrompt, MaskPrompt, PointPrompt, Prompt, Query
    from promptseg.stored_values import MaskValue

POINT_HELP = "A point on the object: x,y in pixels; x,y,0 is a point beside it. Repeat it for more points."
BOX_HELP = "A box around the object: x0,y0,x1,y1 in pixels. Repeat it for more objects."


def parse_points(points: Sequence[str]) -> "PointPrompt":
    """Read points written "x,y" or "x,y,label", where 1 is on the object and 0 beside it.

    Raises:
        PromptError: One has another form.
    """
    from promptseg.prompts import PointPrompt

    rows = [_numbers(point, (2, 3), option="--point", form="x,y or x,y,label") for point in points]
    for point, (_, _, *label) in zip(points, rows, strict=True):
        if label and label[0] not in (0.0, 1.0):
            raise PromptError(f"--point {point}: the label is 1 (on the object) or 0 (beside it)")
    return PointPrompt(tuple((x, y) for x, y, *_ in rows), tuple(label != [0.0] for _, _, *label in rows))


def parse_box(box: str) -> "BoxPrompt":
    """Read a box written "x0,y0,x1,y1".

    Raises:
        PromptError: It has another form, or no area.
    """
    from promptseg.prompts import BoxPrompt

    x0, y0, x1, y1 = _numbers(box, (4,), option="--box", form="x0,y0,x1,y1")
    return BoxPrompt((x0, y0, x1, y1))


def parse_within(within: str, *, mask_value: "MaskValue | None" = None) -> "BoxPrompt | MaskPrompt":
    """Read a region written "x0,y0,x1,y1", or from the file of a mask.

    Raises:
        PromptError: The box has no area, the mask is empty, or it is neither.
        ImageError: The mask can't be read.
    """
    from promptseg._prompt_checks import checked_box
    from promptseg.images import list_mask_values, read_mask
    from promptseg.prompts import BoxPrompt, MaskPrompt

    path = Path(within).expanduser()
    if not path.exists():
        if path.suffix and "," not in within:
            raise ImageError(f"--within {within}: no such file")
        x0, y0, x1, y1 = _numbers(within, (4,), option="--within", form="x0,y0,x1,y1 or the name of a mask's file")
        return BoxPrompt(checked_box((x0, y0, x1, y1), what="--within"))
    mask = read_mask(path, mask_value=mask_value)
    if not mask.any():
        values = list_mask_values(path, mask_value=mask_value)
        raise PromptError(
            f"--within {within}: the mask is empty, it has the values {values}; --mask-value says which one is inside"
        )
    return MaskPrompt(mask)


def read_region(within: str | None, *, mask_value: str | None) -> "BoxPrompt | MaskPrompt | None":
    """Read --within and its --mask-value, for a command that has no other masks; None: look everywhere.

    Raises:
        BadParameter: There is a --mask-value, and no mask.
        PromptError: As `parse_within`.
        ImageError: The mask can't be read.
    """
    value = read_mask_value(mask_value)
    region = None if within is None else parse_within(within, mask_value=value)
    if value is not None and (region is None or region.kind != "mask"):
        raise typer.BadParameter("it is for the mask of --within: there is none", param_hint="--mask-value")
    return region


def name_region(within: str | None) -> str:
    """Name the region for the origin of a data set: only masks of one region belong in one."""
    return "" if within is None else f", within {within}"


def add_pointing(queries: "Sequence[Query]", points: Sequence[str], boxes: Sequence[str]) -> "tuple[Query, ...]":
    """Add points and boxes to the one query there is, or as a query of their own.

    Args:
        queries: The queries of phrases and exemplars, perhaps none.
        points: As `parse_points` takes them.
        boxes: As `parse_box` takes them.

    Raises:
        PromptError: A point or box is malformed, or there are several queries to add it to.
    """
    from promptseg.prompts import UNNAMED_OBJECT, Query

    prompts: list[Prompt] = [parse_points(points)] if points else []
    prompts += [parse_box(box) for box in boxes]
    if not prompts:
        return tuple(queries)
    if not queries:
        return (Query(UNNAMED_OBJECT, tuple(prompts)),)
    if len(queries) > 1:
        labels = ", ".join(query.label for query in queries)
        raise PromptError(f"--point and --box belong to one query, but there are {len(queries)}: {labels}")
    return (replace(queries[0], prompts=(*queries[0].prompts, *prompts)),)


def _numbers(text: str, counts: tuple[int, ...], *, option: str, form: str) -> list[float]:
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) not in counts:
        raise PromptError(f"{option} {text}: write {form}, in pixels")
    return numbers
