"""What the default model is asked about the bundled photos: one request for every path through it."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import promptseg
from promptseg import BoxPrompt, ExemplarPrompt, MaskPrompt, PointPrompt, Query, TextPrompt

PHOTOS = Path(promptseg.__file__).parent / "photos"


@dataclass(frozen=True)
class Request:
    """One call of `Predictor.segment`.

    Attributes:
        name: Of the golden answer.
        photo: Name of the bundled photo.
        query: What is asked.
        tile_side: Of the tiles, pixels; None: without tiles.
    """

    name: str
    photo: str
    query: Query
    tile_side: int | None = None

    @property
    def path(self) -> Path:
        """The photo."""
        return PHOTOS / f"{self.photo}.jpg"


def iterate_requests() -> Iterator[Request]:
    """Yield the requests, in the order of the golden answers."""
    for photo, phrase in (
        ("astronaut", "hair"),  # a name
        ("astronaut", "face"),
        ("astronaut", "person"),  # a name that the detector knows
        ("coffee", "cup"),
        ("chelsea", "cat"),
        ("chelsea", "the cat's ear"),  # a part
        ("rocket", "sky"),  # stuff
        ("coffee", "wooden table"),  # stuff with an attribute
        ("astronaut", "orange suit"),
        ("coffee", "the cup on the left"),  # referring expressions
        ("astronaut", "the person on the left in orange"),
        ("coffee", "the red cup next to the spoon"),
        ("rocket", "giraffe"),  # absent
        ("chelsea", "dog"),
        ("chelsea", "tabby"),  # a name that leans on its hypernym
        ("rocket", "tower"),
    ):
        yield Request(f"{photo}: {phrase}", photo, _text(phrase))
    yield Request("chelsea: exemplar", "chelsea", Query("cat by example", (_exemplar(),)))
    yield Request("chelsea: text and exemplar", "chelsea", Query("cat", (TextPrompt("cat"), _exemplar())))
    yield Request("coffee: click", "coffee", Query("click", (PointPrompt([(230, 180)]),)))
    yield Request("coffee: box", "coffee", Query("box", (BoxPrompt((90, 40, 460, 340)),)))
    yield Request(
        "coffee: box and a point beside", "coffee", Query("box", (_cup_box(), PointPrompt([(5, 5)], [False])))
    )
    yield Request("coffee: rough mask", "coffee", Query("mask", (MaskPrompt(_disc((400, 600), (200, 200), 90)),)))
    yield Request("astronaut: word and a click", "astronaut", Query("hair", (TextPrompt("hair"), _click((200, 60)))))
    yield Request(
        "coffee: word minus a click",
        "coffee",
        Query("cup", (TextPrompt("cup"), PointPrompt([(230, 180)], [False]))),
    )
    yield Request("rocket: sky in tiles", "rocket", _text("sky"), tile_side=320)
    yield Request("coffee: cup in tiles", "coffee", _text("cup"), tile_side=320)


def _text(phrase: str) -> Query:
    return Query(phrase, (TextPrompt(phrase),))


def _click(point_xy: tuple[float, float]) -> PointPrompt:
    return PointPrompt([point_xy])


def _cup_box() -> BoxPrompt:
    return BoxPrompt((90, 40, 460, 340))


def _exemplar() -> ExemplarPrompt:
    return ExemplarPrompt(promptseg.read_image(PHOTOS / "chelsea.jpg"), box_xyxy=(110, 20, 330, 280))


def _disc(size_hw: tuple[int, int], center_xy: tuple[int, int], radius: int) -> np.ndarray:
    y, x = np.indices(size_hw)
    return np.hypot(x - center_xy[0], y - center_xy[1]) < radius
