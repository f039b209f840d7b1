"""Random true maps, and predictions that are right in parts."""

import numpy as np
from numpy.typing import NDArray

from promptseg.language.class_list import NamedClass
from promptseg.results.panoptic import Panoptic
from promptseg.results.segment import number_segments

CLASSES = tuple(
    NamedClass(name, (), name in ("cat", "dog"), "mark") for name in ("sky", "cat", "dog", "grass", "wall", "sea")
)


def draw_map(rng: np.random.Generator, size_hw: tuple[int, int] = (48, 64)) -> Panoptic:
    """Draw a map: two bands of stuff, and things over them; some pixels stay free."""
    height, width = size_hw
    ids = np.zeros(size_hw, np.int32)
    named: list[tuple[str, bool, float]] = []
    for top, name in ((0, "sky"), (height // 2, rng.choice(["grass", "wall"]))):
        named.append((str(name), False, 1.0))
        ids[top : top + height // 2 - 3] = len(named)
    for _ in range(int(rng.integers(2, 6))):
        y, x = int(rng.integers(0, height - 8)), int(rng.integers(0, width - 8))
        named.append((str(rng.choice(["cat", "dog"])), True, 1.0))
        ids[y : y + int(rng.integers(4, 14)), x : x + int(rng.integers(4, 14))] = len(named)
    return as_panoptic(ids, named)


def disturb(found: Panoptic, rng: np.random.Generator) -> Panoptic:
    """Shift a map, give one segment another class, free one, and add one of a class that is nowhere."""
    ids = np.roll(found.segment_ids, tuple(int(step) for step in rng.integers(0, 4, 2)), axis=(0, 1)).copy()
    named = [(segment.label, segment.is_thing, 0.9) for segment in found.segments]
    swapped = int(rng.integers(0, len(named)))
    named[swapped] = ("dog", True, 0.8) if named[swapped][1] else ("wall", False, 0.8)
    ids[ids == int(rng.integers(1, len(named) + 1))] = 0
    named.append(("sea", False, 0.7))
    ids[-5:, -9:] = len(named)
    return as_panoptic(ids, named)


def as_panoptic(ids: NDArray[np.int32], named: list[tuple[str, bool, float]]) -> Panoptic:
    """Describe a map; equal stuff is joined, and what has no pixel is left out."""
    first: dict[str, int] = {}
    new_ids = np.zeros_like(ids)
    kept: list[tuple[str, bool, float]] = []
    for number, (label, is_thing, score) in enumerate(named, start=1):
        if not (ids == number).any():
            continue
        if is_thing or label not in first:
            kept.append((label, is_thing, score))
            first[label] = len(kept)
        new_ids[ids == number] = len(kept) if is_thing else first[label]
    labels = [one.label for one in CLASSES]
    presence = tuple(float(label in {name for name, _, _ in kept}) for label in labels)
    image = np.zeros((*ids.shape, 3), np.uint8)
    return Panoptic(image, new_ids, number_segments(new_ids, kept), CLASSES, presence, 0.5, "keep", "drawn")
