"""Generate spatial phrases that distinguish instances of one name by position and size, from their boxes and areas.

A phrase is generated only if its instance is unambiguous by the margins below.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from promptseg.data.sample import Box, Sample, Target, instance_areas, instance_boxes
from promptseg.language.phrases import canonical, plural, singular

# Minimum distance of centers for "left of", as a share of the image's side.
POSITION_MARGIN = 0.08
# Minimum ratio of the areas of the largest instance and the second.
SIZE_RATIO = 1.6
# Names with an instance below this share of the image get no phrase.
MIN_SHARE = 0.003
# Names with more instances than this, a crowd, get no phrase.
MAX_INSTANCES = 8

Span = tuple[float, float]  # center and length along one axis, pixels

_ORDINALS = ("second", "third", "fourth")


@dataclass(frozen=True)
class PositionPhrase:
    """A phrase, and the indices of the instances that it refers to."""

    phrase: str
    instances: tuple[int, ...]


def position_phrases(
    name: str, boxes_xyxy: Sequence[Box], areas: Sequence[float], size_hw: tuple[int, int]
) -> list[PositionPhrase]:
    """Generate all phrases of position and size that refer unambiguously to some of the instances.

    Args:
        name: Name of all the instances.
        boxes_xyxy: One box per instance, pixels.
        areas: One area per instance, pixels.
        size_hw: Height and width of the image, pixels.

    Returns:
        The phrases; none for fewer than two instances or for a crowd.
    """
    height, width = size_hw
    if not 2 <= len(boxes_xyxy) <= MAX_INSTANCES or min(areas) < MIN_SHARE * height * width:
        return []
    one, many = singular(name), plural(singular(name))
    columns = [((x0 + x1) / 2, x1 - x0) for x0, _, x1, _ in boxes_xyxy]
    rows = [((y0 + y1) / 2, y1 - y0) for _, y0, _, y1 in boxes_xyxy]
    return [
        *_end_phrases(one, columns, width, ("left", "leftmost"), ("right", "rightmost")),
        *_end_phrases(one, rows, height, ("top", "highest"), ("bottom", "lowest")),
        *_counted_phrases(one, columns, width),
        *_half_phrases(many, columns, width, ("on the left", "on the right")),
        *_half_phrases(many, rows, height, ("at the top", "at the bottom")),
        *_size_phrases(one, areas),
    ]


def position_targets(sample: Sample) -> tuple[Target, ...]:
    """Build targets with spatial phrases from the things of an image whose names are annotated completely."""
    complete = {canonical(name) for name in sample.exhaustive}
    return tuple(
        _pick(target, phrase)
        for target in sample.targets
        if target.kind == "thing" and not target.void and canonical(target.phrase) in complete
        for phrase in position_phrases(target.phrase, instance_boxes(target), instance_areas(target), sample.size_hw)
    )


def _pick(target: Target, phrase: PositionPhrase) -> Target:
    masks = tuple(target.masks[index] for index in phrase.instances) if target.masks else ()
    boxes_xyxy = tuple(target.boxes_xyxy[index] for index in phrase.instances) if target.boxes_xyxy else ()
    return replace(target, phrase=phrase.phrase, kind="phrase", masks=masks, boxes_xyxy=boxes_xyxy, alternatives=())


def _end_phrases(
    one: str, spans: Sequence[Span], side: int, first: tuple[str, str], last: tuple[str, str]
) -> Iterator[PositionPhrase]:
    """Yield phrases for the instance at either end of one axis, if it is apart from the next one."""
    order = _in_order(spans)
    for (plain, superlative), index, neighbors in ((first, order[0], order[:2]), (last, order[-1], order[-2:])):
        if not _all_apart([spans[neighbor] for neighbor in neighbors], side):
            continue
        yield PositionPhrase(f"the {superlative} {one}", (index,))
        if len(order) == 2:  # among more, "the left dog" may be any of those on the left
            preposition = "on" if plain in ("left", "right") else "at"
            yield PositionPhrase(f"{plain} {one}", (index,))
            yield PositionPhrase(f"{one} {preposition} the {plain}", (index,))


def _counted_phrases(one: str, columns: Sequence[Span], width: int) -> Iterator[PositionPhrase]:
    """Yield phrases that count from the left and from the right, if there are three or more instances, all apart."""
    order = _in_order(columns)
    if len(order) < 3 or not _all_apart([columns[index] for index in order], width):
        return
    for ordinal, from_left, from_right in zip(_ORDINALS, order[1:-1], order[-2:0:-1], strict=False):
        yield PositionPhrase(f"{ordinal} {one} from the left", (from_left,))
        yield PositionPhrase(f"{ordinal} {one} from the right", (from_right,))
    if len(order) == 3:
        yield PositionPhrase(f"middle {one}", (order[1],))
        yield PositionPhrase(f"the {one} in the middle", (order[1],))


def _half_phrases(many: str, spans: Sequence[Span], side: int, ends: tuple[str, str]) -> Iterator[PositionPhrase]:
    """Yield phrases for the instances in either half, if there are several and none crosses the middle."""
    margin = POSITION_MARGIN * side / 2
    if any(abs(center - side / 2) < length / 2 + margin for center, length in spans):
        return
    first = tuple(index for index, (center, _) in enumerate(spans) if center < side / 2)
    last = tuple(index for index in range(len(spans)) if index not in first)
    for end, here in zip(ends, (first, last), strict=True):
        if 1 < len(here) < len(spans):
            yield PositionPhrase(f"{many} {end}", here)


def _size_phrases(one: str, areas: Sequence[float]) -> Iterator[PositionPhrase]:
    """Yield phrases for the largest and the smallest instance, if the size ratio is large enough."""
    order = sorted(range(len(areas)), key=lambda index: areas[index])
    pair = len(order) == 2
    if areas[order[-1]] >= SIZE_RATIO * areas[order[-2]]:
        for word in ("largest", "biggest", "larger", "bigger")[: 4 if pair else 2]:
            yield PositionPhrase(f"the {word} {one}", (order[-1],))
    if areas[order[1]] >= SIZE_RATIO * areas[order[0]]:
        for word in ("smallest", "smaller")[: 2 if pair else 1]:
            yield PositionPhrase(f"the {word} {one}", (order[0],))


def _in_order(spans: Sequence[Span]) -> list[int]:
    return sorted(range(len(spans)), key=lambda index: spans[index][0])


def _all_apart(spans: Sequence[Span], side: int) -> bool:
    """Return whether each span is before the next: centers by the margin, overlap at most half of the shorter one."""
    return all(_apart(before, after, side) for before, after in pairwise(spans))


def _apart(before: Span, after: Span, side: int) -> bool:
    shorter = min(before[1], after[1])
    end, start = before[0] + before[1] / 2, after[0] - after[1] / 2
    return after[0] - before[0] >= POSITION_MARGIN * side and end - start <= shorter / 2
