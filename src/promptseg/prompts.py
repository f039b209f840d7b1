"""What a person can point with, and the request that is made of it.

A prompt is one hint (a phrase, an example, points, a box, a mask); a query is a label and the prompts that together say
what it means; a request is a list of queries and is answered in its order. Every class is frozen and checks itself, so
whatever comes after can trust what it gets. Coordinates are pixels of the photo, origin top left, x to the right.

Phrases and examples are concepts: several of them in a query mean their mixture, each with a weight, and one of a
negative weight is what is not meant.
"""

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil, floor, isfinite
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
        weight: How much it counts beside the other concepts of its query (`mixture_weights`); negative: not this.

    Raises:
        PromptError: The phrase is empty, too long, or holds no word or a control character; the weight is 0 or not a
            finite number.
    """

    kind: ClassVar[str] = "text"
    text: str
    weight: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", _checked_phrase(self.text))
        object.__setattr__(self, "weight", _checked_weight(self.weight))


@dataclass(frozen=True, eq=False)
class ExemplarPrompt:
    """An example in another image: find more of this.

    Attributes:
        image_rgb: The other image, uint8, shape (H, W, 3); `promptseg.read_exemplar` makes the prompt from files.
        mask: Which part of it is meant, bool, shape (H, W); None: see `box_xyxy`.
        box_xyxy: The same as a box in its pixels; None with no mask either: all of it.
        weight: How much it counts beside the other concepts of its query (`mixture_weights`); negative: not this.

    Raises:
        PromptError: A shape or dtype is wrong, both a mask and a box are given, the mask is empty, the box lies outside
            the image, or the weight is 0 or not a finite number.
    """

    kind: ClassVar[str] = "exemplar"
    image_rgb: NDArray[np.uint8]
    mask: NDArray[np.bool_] | None = None
    box_xyxy: tuple[float, float, float, float] | None = None
    weight: float = 1.0

    def __post_init__(self) -> None:
        image_rgb = np.asarray(self.image_rgb)
        if image_rgb.dtype != np.uint8 or image_rgb.ndim != 3 or image_rgb.shape[2] != 3 or image_rgb.size == 0:
            raise PromptError(
                f"an exemplar's image is a uint8 array of shape (H, W, 3), not {image_rgb.dtype} {image_rgb.shape}; "
                "promptseg.read_image makes one from a file"
            )
        if self.mask is not None and self.box_xyxy is not None:
            raise PromptError("an exemplar takes a mask or a box, not both")
        size_hw = image_rgb.shape[:2]
        object.__setattr__(self, "image_rgb", _frozen_copy(image_rgb))
        if self.mask is not None:
            mask = _checked_mask(self.mask, what="the exemplar's mask")
            if mask.shape != size_hw:
                raise PromptError(
                    f"the exemplar's mask is {mask.shape}, its image {size_hw} (H, W): one mask pixel for each of its"
                )
            object.__setattr__(self, "mask", mask)
        if self.box_xyxy is not None:
            box = left, top, right, bottom = _checked_box(self.box_xyxy)
            if right <= 0 or bottom <= 0 or left >= size_hw[1] or top >= size_hw[0]:
                raise PromptError(
                    f"the exemplar's box {box} lies outside its image of {size_hw[1]} x {size_hw[0]} pixels (W x H)"
                )
            object.__setattr__(self, "box_xyxy", box)
        object.__setattr__(self, "weight", _checked_weight(self.weight))

    @property
    def foreground(self) -> NDArray[np.bool_]:
        """Which pixels are meant, however it was said: shape (H, W), at least one set; a box gives all it touches."""
        if self.mask is not None:
            return self.mask
        if self.box_xyxy is None:
            return np.ones(self.image_rgb.shape[:2], dtype=np.bool_)
        left, top, right, bottom = self.box_xyxy
        foreground = np.zeros(self.image_rgb.shape[:2], dtype=np.bool_)
        foreground[max(0, floor(top)) : ceil(bottom), max(0, floor(left)) : ceil(right)] = True
        return foreground


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
        on_object = (True,) * len(points) if self.on_object is None else self.on_object
        if not isinstance(on_object, Iterable):
            raise PromptError(f"on_object has a flag for each point, such as (True, False); not {on_object!r}")
        on_object = tuple(bool(flag) for flag in on_object)
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
        logits: The map that the mask was cut from, where it is an earlier answer (`QueryResult.as_prompt`): shape
            (h, w) over the whole photo at any resolution, above 0 where the object is; None: the mask was drawn.

    Raises:
        PromptError: Not a two-dimensional bool array, or nothing is set; or logits that are not finite, or no map.
    """

    kind: ClassVar[str] = "mask"
    mask: NDArray[np.bool_]
    logits: NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "mask", _checked_mask(self.mask))
        if self.logits is not None:
            logits = np.asarray(self.logits)
            if logits.dtype.kind != "f" or logits.ndim != 2 or not logits.size or not np.isfinite(logits).all():
                raise PromptError(
                    f"a mask's logits are finite floats of shape (h, w), not {logits.dtype} {logits.shape}"
                    + (" with numbers that are not finite" if logits.dtype.kind == "f" else "")
                )
            object.__setattr__(self, "logits", _frozen_copy(logits.astype(np.float32)))


Concept: TypeAlias = TextPrompt | ExemplarPrompt
Prompt: TypeAlias = TextPrompt | ExemplarPrompt | PointPrompt | BoxPrompt | MaskPrompt

_PROMPT_CLASSES = (TextPrompt, ExemplarPrompt, PointPrompt, BoxPrompt, MaskPrompt)


@dataclass(frozen=True)
class Query:
    """One thing to find: a label, and the prompts that together say what it is.

    Attributes:
        label: The name the result carries; free text, checked like a phrase.
        prompts: One or more.

    Raises:
        PromptError: The label is not a valid phrase, or there is no prompt, or one is of an unknown class, or they say
            only what is not meant.
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
        if all(isinstance(prompt, Concept) and prompt.weight < 0 for prompt in prompts):
            raise PromptError(f"the query {self.label!r} says only what is not meant; add a prompt of positive weight")
        object.__setattr__(self, "label", _checked_phrase(self.label))
        object.__setattr__(self, "prompts", prompts)


QueryLike: TypeAlias = str | Prompt | Query


def to_queries(items: QueryLike | Iterable[QueryLike]) -> tuple[Query, ...]:
    """Bring everything that a request may hold to one form; order and duplicates are kept.

    Args:
        items: Phrases, prompts and queries, mixed; a single one is a request of one.

    Returns:
        One query for each item; a phrase is its own label, any other bare prompt is labeled by its kind.

    Raises:
        PromptError: No item, more than 1,000, or one that is malformed.
    """
    # A lone phrase is a sequence too: without this, "cat" would ask for "c", "a" and "t".
    listed = list(items) if isinstance(items, Iterable) and not isinstance(items, str) else [items]
    if not listed:
        raise PromptError("nothing was asked for: give at least one phrase")
    if len(listed) > MAX_QUERIES:
        raise PromptError(f"{len(listed):,} queries in one request; the limit is {MAX_QUERIES:,}: ask in parts")
    return tuple(_to_query(item) for item in listed)


def mixture_weights(concepts: Sequence[Concept]) -> tuple[float, ...]:
    """Give each concept of a query its share of the mixture.

    Args:
        concepts: Phrases and examples, at least one of positive weight, as in every `Query` of concepts alone.

    Returns:
        A share for each, in order: those of positive weight add up to 1, negative weights stay as they are. So (1, 1,
        -0.5) becomes (0.5, 0.5, -0.5), and a lone concept has the share 1 whatever its weight.

    Raises:
        PromptError: No concept has a positive weight.
    """
    total = sum(concept.weight for concept in concepts if concept.weight > 0)
    if total <= 0:
        raise PromptError("a mixture needs at least one phrase or example of positive weight")
    return tuple(concept.weight / total if concept.weight > 0 else concept.weight for concept in concepts)


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


def _checked_mask(mask: NDArray[np.bool_], *, what: str = "the mask") -> NDArray[np.bool_]:
    mask = np.asarray(mask)
    if mask.dtype != np.bool_ or mask.ndim != 2:
        raise PromptError(f"{what} is a bool array of shape (H, W), not {mask.dtype} {mask.shape}")
    if not mask.any():
        raise PromptError(f"{what} is empty: not one pixel is set")
    return _frozen_copy(mask)


def _checked_weight(weight: object) -> float:
    if isinstance(weight, bool) or not isinstance(weight, int | float | np.number) or not isfinite(weight):
        raise PromptError(f"a weight is a finite number, not {weight!r}")
    if weight == 0:
        raise PromptError("a weight of 0 says nothing; leave the prompt out, or give what is not meant a negative one")
    return float(weight)


def _frozen_copy(array: NDArray[Any]) -> NDArray[Any]:
    copy = array.copy()
    copy.flags.writeable = False
    return copy
