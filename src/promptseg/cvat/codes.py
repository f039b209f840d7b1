"""Masks as CVAT writes them: values inside the box, row by row, then the box with its last row and column."""

import numpy as np

from promptseg.errors import PromptError
from promptseg.ops.polygons import TOLERANCE, join_parts, smooth_polygons
from promptseg.results import Instance


def encode_runs(instance: Instance) -> list[int]:
    """Encode a mask as lengths of runs, the first of which is outside, then left, top, right, bottom."""
    pixels = instance.box_mask.ravel()
    changes = np.flatnonzero(np.diff(pixels, prepend=False))
    return [*np.diff(changes, prepend=0, append=pixels.size).tolist(), *_inclusive_box(instance)]


def encode_bits(instance: Instance) -> list[int]:
    """Encode a mask as 0 and 1, then left, top, right, bottom: what serverless functions answer."""
    return [*instance.box_mask.ravel().astype(int).tolist(), *_inclusive_box(instance)]


def outline(instance: Instance) -> list[float]:
    """Give one ring around the object, x and y in turn, pixels; holes and parts are joined by lines of zero width."""
    ring = join_parts(smooth_polygons(instance.polygons(), TOLERANCE))
    points: list[float] = ring.astype(float).ravel().tolist()
    return points


def read_labels(text: str) -> dict[str, str]:
    """Read labels and the phrases that they are asked for by: "cat, ear=the cat's ear".

    Raises:
        PromptError: There is no label, or one is there twice.
    """
    pairs = [part.partition("=") for part in text.split(",") if part.strip()]
    names = [name.strip() for name, _, _ in pairs]
    if not names or "" in names or len(set(names)) < len(names):
        raise PromptError(f'labels are like "cat, ear=the cat\'s ear", each one once, not {text!r}')
    return {name: phrase.strip() or name for name, (_, _, phrase) in zip(names, pairs, strict=True)}


def _inclusive_box(instance: Instance) -> tuple[int, int, int, int]:
    left, top, right, bottom = instance.box_xyxy
    return left, top, right - 1, bottom - 1
