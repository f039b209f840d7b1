"""The points and the box of CVAT's interactors as a query."""

from collections.abc import Sequence
from typing import TypeAlias

from promptseg.errors import PromptError
from promptseg.prompts import UNNAMED_OBJECT, BoxPrompt, PointPrompt, Prompt, Query

Point: TypeAlias = Sequence[float]


def read_clicks(on_object: Sequence[Point], beside: Sequence[Point], corners: Sequence[Point] | None) -> Query:
    """Make the query of one object.

    Args:
        on_object: Points (x, y) on it, pixels.
        beside: Points beside it.
        corners: Top left and bottom right of a box around it; None or empty: no box.

    Raises:
        PromptError: There are no points and no box, or one is malformed.
    """
    prompts: list[Prompt] = []
    if corners:
        if len(corners) != 2:
            raise PromptError(f"a box has two corners, not {len(corners)}")
        prompts.append(BoxPrompt((*_pair(corners[0]), *_pair(corners[1]))))
    points = [(_pair(point), True) for point in on_object] + [(_pair(point), False) for point in beside]
    if points:
        prompts.append(PointPrompt(tuple(xy for xy, _ in points), tuple(flag for _, flag in points)))
    if not prompts:
        raise PromptError("nothing was asked for: set a point on the object, or draw a box around it")
    return Query(UNNAMED_OBJECT, tuple(prompts))


def _pair(point: Point) -> tuple[float, float]:
    if len(point) != 2:
        raise PromptError(f"a point is (x, y), not {point!r}")
    x, y = point
    return x, y
