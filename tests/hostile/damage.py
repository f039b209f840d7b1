"""Ways to damage the content of a file, all of them functions of a seed."""

import json
from collections.abc import Iterator
from typing import Any

import numpy as np

# Values that no field of an annotation or a config has.
WRONG_VALUES: tuple[Any, ...] = (
    None, True, -1, 2**70, 1e300, float("nan"), float("inf"), "", "x", "\x00", [], {}, [[[]]], {"a": [None]},
    "../../../etc/passwd", [1e30, -1e30], [None, None, None, None], 0.5,
)  # fmt: skip

# Numbers and texts that are wrong everywhere.
_IMPOSSIBLE = (2**70, 1e300, float("inf"), "", "\x00")


def cut_places(num_bytes: int, num_places: int) -> list[int]:
    """Spread places to cut a file at over its length, both ends included: nothing left, and one byte missing."""
    return [int(place) for place in np.linspace(0, num_bytes - 1, num_places)]


def flip_bits(content: bytes, rng: np.random.Generator, *, num_bits: int = 1, start: int = 0) -> bytes:
    """Turn bits over, from the byte `start` on."""
    flipped = bytearray(content)
    for place in rng.integers(8 * start, 8 * len(content), num_bits):
        flipped[place // 8] ^= 1 << place % 8
    return bytes(flipped)


def iterate_places(document: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the place of every value in a JSON document, as the keys and indexes that lead to it."""
    yield place
    items = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    for key, value in items:
        yield from iterate_places(value, (*place, key))


def damage_json(text: str, rng: np.random.Generator) -> tuple[str, str]:
    """Replace a value of a JSON document by a wrong one, or drop it; return the text and what was done."""
    document = json.loads(text)
    places = list(iterate_places(document))
    place = places[rng.integers(len(places))]
    if not place:
        wrong = WRONG_VALUES[rng.integers(len(WRONG_VALUES))]
        return json.dumps(wrong), f"all is {wrong!r}"
    holder = document
    for key in place[:-1]:
        holder = holder[key]
    if rng.random() < 0.3 and isinstance(holder, dict):
        del holder[place[-1]]
        done = f"{place} is missing"
    else:
        before = holder[place[-1]]
        # another number or text would be right
        kinds = (str,) if isinstance(before, str) else (bool, int, float) if isinstance(before, int | float) else ()
        choices = [value for value in WRONG_VALUES if not isinstance(value, kinds) or value in _IMPOSSIBLE]
        holder[place[-1]] = choices[rng.integers(len(choices))]
        done = f"{place} is {holder[place[-1]]!r}"
    return json.dumps(document), done
