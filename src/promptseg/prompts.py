"""What a person can point with, and the request that is made of it.

A prompt is one hint (a phrase, an example, points, a box, a mask); a query is a label and the prompts that together say
what it means; a request is a list of queries and is answered in its order. Every class is frozen and checks itself, so
whatever comes after can trust what it gets. Coordinates are pixels of the photo, origin top left, x to the right.
"""

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from promptseg.errors import PromptError

MAX_PHRASE_CHARACTERS = 512
MAX_QUERIES = 1000

# Control characters and lone surrogates: no phrase needs them, and they break terminals, JSON and tokenizers.
_FORBIDDEN_CATEGORIES = frozenset({"Cc", "Cs"})


@dataclass(frozen=True)
class TextPrompt:
    """A phrase, such as "the cat's ear"; space around it is dropped.

    Attributes:
        text: 1 to 512 characters with at least one letter or digit.

    Raises:
        PromptError: The phrase is empty, too long, or holds no word or a control character.
    """

    kind: ClassVar[str] = "text"
    text: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", _checked_phrase(self.text))


@dataclass(frozen=True, eq=False)
class ExemplarPrompt:
    """An example in another picture: find more of this.

    Attributes:
        image_rgb: The other picture, uint8, shape (H, W, 3); `promptseg.read_image` makes one from a file.
        mask: Which part of it is meant, bool, shape (H, W); None: see `box_xyxy`.
        box_xyxy: The same as a box in its pixels; None with no mask either: all of it.

    Raises:
        PromptError: A shape or dtype is wrong, or both a mask and a box are given.
    """

    kind: ClassVar[str] = "exemplar"
    image_rgb: NDArray[np.uint8]
    mask: NDArray[np.bool_] | None = None
    box_xyxy: tuple[float, float, float, float] | None = None

    def __post_init__(self) -> None:
        image_rgb = np.asarray(self.image_rgb)
        if image_rgb.dtype != np.uint8 or image_rgb.ndim != 3 or image_rgb.shape[2] != 3 or image_rgb.size == 0:
            raise PromptError(
                f"an exemplar's picture is a uint8 array of shape (H, W, 3), not {image_rgb.dtype} {image_rgb.shape}; "
                "promptseg.read_image makes one from a file"
            )
        if self.mask is not None and self.box_xyxy is not None:
            raise PromptError("an exemplar takes a mask or a box, not both")
        object.__setattr__(self, "image_rgb", _frozen_copy(image_rgb))
        if self.mask is not None:
            mask = _checked_mask(self.mask)
            if mask.shape != image_rgb.shape[:2]:
                raise PromptError(f"the exemplar's mask is {mask.shape}, its picture {image_rgb.shape[:2]} (H, W)")
            object.__setattr__(self, "mask", mask)
        if self.box_xyxy is not None:
            object.__setattr__(self, "box_xyxy", _checked_box(self.box_xyxy))


@dataclass(frozen=True)
class PointPrompt:
    """Points on the object, or off it.

    Attributes:
        points_xy: One or more (x, y), pixels.
        on_object: For each point, whether it lies on the object, or shows what is not meant; None: all on it.

    Raises:
        PromptError: No point, a coordinate that is not a finite number, or a count that differs.
    """

    kind: ClassVar[str] = "point"
    points_xy: tuple[tuple[float, float], ...]
    on_object: tuple[bool, ...] | None = None

    def __post_init__(self) -> None:
        points = _finite_array(self.points_xy, what="points_xy")
        if points.ndim != 2 or points.shape[0] == 0 or points.shape[1] != 2:
            raise PromptError(f"points_xy is one or more (x, y) pairs, not an array of shape {points.shape}")
        on_object = (True,) * len(points) if self.on_object is None else tuple(bool(flag) for flag in self.on_object)
        if len(on_object) != len(points):
            raise PromptError(f"{len(points)} points but {len(on_object)} flags in on_object")
        object.__setattr__(self, "points_xy", tuple((float(x), float(y)) for x, y in points))
        object.__setattr__(self, "on_object", on_object)


@dataclass(frozen=True)
class BoxPrompt:
    """A box around the object.

    Attributes:
        box_xyxy: (left, top, right, bottom), pixels, left < right and top < bottom.

    Raises:
        PromptError: Not four finite numbers in that order.
    """

    kind: ClassVar[str] = "box"
    box_xyxy: tuple[float, float, float, float]

    def __post_init__(self) -> None:
        object.__setattr__(self, "box_xyxy", _checked_box(self.box_xyxy))


@dataclass(frozen=True, eq=False)
class MaskPrompt:
    """A rough mask of the object, or a scribble on it.

    Attributes:
        mask: bool, shape (H, W) of the photo, at least one pixel set.

    Raises:
        PromptError: Not a two-dimensional bool array, or nothing is set.
    """

    kind: ClassVar[str] = "mask"
    mask: NDArray[np.bool_]

    def __post_init__(self) -> None:
        object.__setattr__(self, "mask", _checked_mask(self.mask))


Prompt: TypeAlias = TextPrompt | ExemplarPrompt | PointPrompt | BoxPrompt | MaskPrompt

_PROMPT_CLASSES = (TextPrompt, ExemplarPrompt, PointPrompt, BoxPrompt, MaskPrompt)


@dataclass(frozen=True)
class Query:
    """One thing to find: a label, and the prompts that together say what it is.

    Attributes:
        label: The name the result carries; free text, checked like a phrase.
        prompts: One or more.

    Raises:
        PromptError: The label is not a valid phrase, or there is no prompt, or one is of an unknown class.
    """

    label: str
    prompts: tuple[Prompt, ...]

    def __post_init__(self) -> None:
        prompts = (self.prompts,) if isinstance(self.prompts, _PROMPT_CLASSES) else tuple(self.prompts)
        if not prompts:
            raise PromptError(f"the query {self.label!r} has no prompt")
        for prompt in prompts:
            if not isinstance(prompt, _PROMPT_CLASSES):
                raise PromptError(
                    f"the query {self.label!r} holds a {type(prompt).__name__}; prompts are "
                    + ", ".join(kind.__name__ for kind in _PROMPT_CLASSES)
                )
        object.__setattr__(self, "label", _checked_phrase(self.label))
        object.__setattr__(self, "prompts", prompts)


QueryLike: TypeAlias = str | Prompt | Query


def to_queries(items: QueryLike | Iterable[QueryLike]) -> tuple[Query, ...]:
    """Bring everything that a request may hold to one form; order and duplicates are kept.

    Args:
        items: Phrases, prompts and queries, mixed; a single one is a request of one.

    Returns:
        One query for each item; a phrase is its own label, any other bare prompt is labelled by its kind.

    Raises:
        PromptError: No item, more than 1,000, or one that is malformed.
    """
    # A lone phrase is a sequence too: without this, "cat" would ask for "c", "a" and "t".
    listed = [items] if isinstance(items, (str, Query, *_PROMPT_CLASSES)) else list(items)
    if not listed:
        raise PromptError("nothing was asked for: give at least one phrase")
    if len(listed) > MAX_QUERIES:
        raise PromptError(f"{len(listed):,} queries in one request; the limit is {MAX_QUERIES:,}: ask in parts")
    return tuple(_to_query(item) for item in listed)


def _to_query(item: object) -> Query:
    if isinstance(item, Query):
        return item
    if isinstance(item, str):
        item = TextPrompt(item)
    if isinstance(item, TextPrompt):
        return Query(item.text, (item,))
    if isinstance(item, _PROMPT_CLASSES):
        return Query(item.kind, (item,))
    raise PromptError(f"a query is a phrase, a prompt or a Query, not {type(item).__name__}")


def _checked_phrase(text: object) -> str:
    if not isinstance(text, str):
        raise PromptError(f"a phrase is text, not {type(text).__name__}")
    phrase = text.strip()
    shown = repr(phrase if len(phrase) <= 40 else phrase[:39] + "…")
    if not phrase:
        raise PromptError(f"the phrase is {'blank' if text else 'empty'}: name something to find")
    if len(phrase) > MAX_PHRASE_CHARACTERS:
        raise PromptError(
            f"the phrase {shown} has {len(phrase):,} characters; the limit is {MAX_PHRASE_CHARACTERS}: "
            "ask for one thing in a phrase"
        )
    for character in phrase:
        if unicodedata.category(character) in _FORBIDDEN_CATEGORIES:
            raise PromptError(f"the phrase {shown} holds the control character U+{ord(character):04X}")
    if not any(character.isalnum() for character in phrase):
        raise PromptError(f"the phrase {shown} has no letter or digit: say it in words")
    return phrase


def _finite_array(values: ArrayLike, *, what: str) -> NDArray[np.float64]:
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise PromptError(f"{what} is made of numbers, not {values!r}") from error
    if not np.isfinite(array).all():
        raise PromptError(f"{what} holds a number that is not finite: {values!r}")
    return array


def _checked_box(box_xyxy: Sequence[float]) -> tuple[float, float, float, float]:
    box = _finite_array(box_xyxy, what="box_xyxy")
    if box.shape != (4,):
        raise PromptError(f"box_xyxy is (left, top, right, bottom), not an array of shape {box.shape}")
    left, top, right, bottom = box.tolist()
    if left >= right or top >= bottom:
        raise PromptError(
            f"box_xyxy is (left, top, right, bottom) with left < right and top < bottom, not {box.tolist()}"
        )
    return left, top, right, bottom


def _checked_mask(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    mask = np.asarray(mask)
    if mask.dtype != np.bool_ or mask.ndim != 2:
        raise PromptError(f"a mask is a bool array of shape (H, W), not {mask.dtype} {mask.shape}")
    if not mask.any():
        raise PromptError("the mask is empty: not one pixel is set")
    return _frozen_copy(mask)


def _frozen_copy(array: NDArray[Any]) -> NDArray[Any]:
    copy = array.copy()
    copy.flags.writeable = False
    return copy
