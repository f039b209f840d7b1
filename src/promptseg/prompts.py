"""Prompts, and the queries that a request consists of.

A prompt is one hint: a phrase, an example, points, a box or a mask. A query is a label and the prompts that together
define one target; a request is a list of queries, and its results keep their order. Every class is frozen and checks
its values, so that other modules need not check them again. Coordinates are pixels of the image, origin top left, x to
the right, y down.

Phrases and examples are concepts: several of them in a query mean their weighted mixture, and a negative weight
excludes a concept.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil, floor
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from promptseg._prompt_checks import (
    checked_box,
    checked_mask,
    checked_phrase,
    checked_weight,
    finite_array,
    frozen_copy,
    refuse_list,
    refuse_shares,
)
from promptseg.errors import PromptError

if TYPE_CHECKING:
    from promptseg.images import ImageSource
    from promptseg.stored_values import MaskValue

MAX_QUERIES = 1000
MAX_POINTS = 1000
# Label of an object that is pointed at and has no name.
UNNAMED_OBJECT = "object"


@dataclass(frozen=True)
class TextPrompt:
    """A phrase, such as "the cat's ear"; white space around it is removed.

    Attributes:
        text: 1 to 512 characters with at least one letter or digit.
        weight: Weight among the concepts of its query (`mixture_weights`); negative: not this.

    Raises:
        PromptError: The phrase is empty or too long, has no letter or digit, or contains a control character; or the
            weight is 0 or not a finite number.
    """

    kind: ClassVar[str] = "text"
    text: str
    weight: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", checked_phrase(self.text))
        object.__setattr__(self, "weight", checked_weight(self.weight))


@dataclass(frozen=True, eq=False)
class ExemplarPrompt:
    """An example in another image: find more of this. `from_file` reads one from files.

    Attributes:
        image_rgb: The other image, uint8, shape (H, W, 3).
        mask: The part of it that is meant, bool, shape (H, W); None: see `box_xyxy`.
        box_xyxy: The same as a box, pixels of the other image; what lies outside it is cut off. None, and no mask: the
            whole image.
        weight: Weight among the concepts of its query (`mixture_weights`); negative: not this.

    Raises:
        PromptError: A shape or dtype is wrong, a mask and a box are given, the mask is empty, the box lies wholly
            outside the image, or the weight is 0 or not a finite number.
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
        object.__setattr__(self, "image_rgb", frozen_copy(image_rgb))
        if self.mask is not None:
            mask = checked_mask(self.mask, what="the exemplar's mask")
            if mask.shape != size_hw:
                raise PromptError(
                    f"the exemplar's mask is {mask.shape}, its image {size_hw} (H, W): one mask pixel for each of its"
                )
            object.__setattr__(self, "mask", mask)
        if self.box_xyxy is not None:
            box = left, top, right, bottom = checked_box(self.box_xyxy)
            if right <= 0 or bottom <= 0 or left >= size_hw[1] or top >= size_hw[0]:
                raise PromptError(
                    f"the exemplar's box {box} lies outside its image of {size_hw[1]} x {size_hw[0]} pixels (W x H)"
                )
            object.__setattr__(self, "box_xyxy", box)
        object.__setattr__(self, "weight", checked_weight(self.weight))

    @classmethod
    def from_file(
        cls,
        image: "ImageSource",
        mask: "ImageSource | NDArray[np.bool_] | None" = None,
        box_xyxy: tuple[float, float, float, float] | None = None,
        weight: float = 1.0,
        mask_value: "MaskValue | None" = None,
    ) -> Self:
        """Read an example from an image file and, optionally, a mask file.

        Args:
            image: The image, as `promptseg.read_image` takes it.
            mask: The part of it that is meant, as `promptseg.read_mask` takes it; None, and no box: the whole image.
            box_xyxy: The same as (left, top, right, bottom), pixels.
            weight: Weight among the concepts of its query; negative: not this.
            mask_value: What is inside a mask of several classes, as `promptseg.read_mask` takes it.

        Raises:
            ImageError: A file is missing, damaged or no image, or the values of the mask allow several readings.
            PromptError: The mask is empty or has another size than the image, the box lies wholly outside the image,
                both are given, or `mask_value` is no mask value.
        """
        from promptseg.images import list_mask_values, name_image, read_image, read_mask

        read = None if mask is None else read_mask(mask, mask_value=mask_value)
        if mask is not None and read is not None and not read.any():
            # an open file can't be read again
            values = "" if hasattr(mask, "read") else f" has the values {list_mask_values(mask, mask_value=mask_value)}"
            what = "above 0" if mask_value is None else f"{mask_value!r}"
            raise PromptError(
                f"the exemplar's mask is empty: {name_image(mask)}{values}, none is {what}; say with mask_value "
                "(--mask-value) which value is inside"
            )
        return cls(read_image(image), read, box_xyxy, weight)

    def __repr__(self) -> str:
        (height, width), area = self.image_rgb.shape[:2], int(self.foreground.sum())
        return f"<ExemplarPrompt size_hw=({height}, {width}) foreground={area} px weight={self.weight:g}>"

    def __reduce__(self) -> tuple[type[Self], tuple[Any, ...]]:
        # Unpickling builds the prompt anew, because pickle would not keep the arrays read-only.
        return type(self), (self.image_rgb, self.mask, self.box_xyxy, self.weight)

    @property
    def foreground(self) -> NDArray[np.bool_]:
        """The pixels that are meant, bool, shape (H, W), at least one set; a box includes every pixel it touches."""
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
        points_xy: 1 to 1,000 points (x, y), pixels.
        on_object: For each point, True if it lies on the object, False if it lies beside it; None: all lie on it.

    Raises:
        PromptError: There is no point or there are too many, a coordinate is not a finite number, the numbers of points
            and flags differ, or the coordinates look like shares of the image size.
    """

    kind: ClassVar[str] = "point"
    points_xy: tuple[tuple[float, float], ...]
    on_object: tuple[bool, ...] | None = None

    def __post_init__(self) -> None:
        points = finite_array(self.points_xy, what="points_xy")
        if points.ndim != 2 or points.shape[0] == 0 or points.shape[1] != 2:
            raise PromptError(
                f"points_xy is one or more (x, y) pairs, such as [(120, 80)], not an array of shape {points.shape}"
            )
        if len(points) > MAX_POINTS:
            raise PromptError(
                f"{len(points):,} points in one prompt; the limit is {MAX_POINTS:,}: a MaskPrompt takes an area or a "
                "scribble"
            )
        refuse_shares(points, what="points_xy")
        on_object = (True,) * len(points) if self.on_object is None else self.on_object
        if not isinstance(on_object, Iterable):
            raise PromptError(f"on_object has a flag for each point, such as (True, False); not {on_object!r}")
        # NumPy's and PyTorch's numbers too
        flags = tuple(flag.item() if hasattr(flag, "item") else flag for flag in on_object)
        # SAM's own codes go on to 3, and -1 is padding: none of those is a point beside the object
        if strange := [flag for flag in flags if not (isinstance(flag, bool | int | float) and flag in (0, 1))]:
            raise PromptError(f"on_object is made of True (1) and False (0), not {strange[0]!r:.80}")
        on_object = tuple(map(bool, flags))
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
        PromptError: These are not four finite numbers in that order, or they look like shares of the image size.
    """

    kind: ClassVar[str] = "box"
    box_xyxy: tuple[float, float, float, float]

    def __new__(cls, *args: object, **kwargs: object) -> Self:
        """Refuse a box given as four arguments, which Python would refuse without a hint."""
        if len(args) == 4:
            raise PromptError(f"a box is one argument: BoxPrompt(({', '.join(map(repr, args))}))")
        return super().__new__(cls)

    def __post_init__(self) -> None:
        object.__setattr__(self, "box_xyxy", checked_box(self.box_xyxy))


@dataclass(frozen=True, eq=False)
class MaskPrompt:
    """A rough mask of the object, or a scribble on it.

    Attributes:
        mask: bool, shape (H, W) of the image, at least one pixel set.
        logits: The map that the mask was cut from, if it is an earlier result (`QueryResult.as_prompt`): float32, shape
            (h, w) over the whole image at any resolution, positive on the object; None: the mask was drawn.

    Raises:
        PromptError: The mask is not a two-dimensional bool array, or is empty; or the logits are not finite, or not
            two-dimensional.
    """

    kind: ClassVar[str] = "mask"
    mask: NDArray[np.bool_]
    logits: NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "mask", checked_mask(self.mask))
        if self.logits is not None:
            logits = np.asarray(self.logits)
            if logits.dtype.kind != "f" or logits.ndim != 2 or not logits.size or not np.isfinite(logits).all():
                raise PromptError(
                    f"a mask's logits are finite floats of shape (h, w), not {logits.dtype} {logits.shape}"
                    + (" with numbers that are not finite" if logits.dtype.kind == "f" else "")
                )
            object.__setattr__(self, "logits", frozen_copy(logits.astype(np.float32)))

    def __repr__(self) -> str:
        height, width = self.mask.shape
        origin = "drawn" if self.logits is None else "from a result"
        return f"<MaskPrompt size_hw=({height}, {width}) area={int(self.mask.sum())} px, {origin}>"

    def __reduce__(self) -> tuple[type[Self], tuple[Any, ...]]:
        # See ExemplarPrompt.
        return type(self), (self.mask, self.logits)


Concept: TypeAlias = TextPrompt | ExemplarPrompt
Prompt: TypeAlias = TextPrompt | ExemplarPrompt | PointPrompt | BoxPrompt | MaskPrompt

_PROMPT_CLASSES = (TextPrompt, ExemplarPrompt, PointPrompt, BoxPrompt, MaskPrompt)


@dataclass(frozen=True)
class Query:
    """One target: a label, and the prompts that together define it.

    Attributes:
        label: The label of the result; free text, checked like a phrase.
        prompts: One or more.

    Raises:
        PromptError: The label is not a valid phrase, there is no prompt, one is of an unknown class, or all weights are
            negative.
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
        object.__setattr__(self, "label", checked_phrase(self.label))
        object.__setattr__(self, "prompts", prompts)


QueryLike: TypeAlias = str | Prompt | Query


def to_queries(items: QueryLike | Iterable[QueryLike]) -> tuple[Query, ...]:
    """Convert everything that a request may hold to queries; order and duplicates are kept.

    Args:
        items: Phrases, prompts and queries, mixed; a single one is a request of one.

    Returns:
        One query for each item; a phrase is its own label, any other bare prompt is labeled by its kind.

    Raises:
        PromptError: There is no item, there are more than 1,000, or one is malformed; or a phrase lists several names
            ("cup, table"), which only a `TextPrompt` takes as one.

    Example:
        >>> [query.label for query in to_queries(["cat", BoxPrompt((0, 0, 9, 9))])]
        ['cat', 'box']
    """
    # A string is iterable too: without this test, "cat" would become "c", "a" and "t".
    listed = list(items) if isinstance(items, Iterable) and not isinstance(items, str) else [items]
    if not listed:
        raise PromptError("nothing was asked for: give at least one phrase")
    if len(listed) > MAX_QUERIES:
        raise PromptError(f"{len(listed):,} queries in one request; the limit is {MAX_QUERIES:,}: ask in parts")
    return tuple(_to_query(item) for item in listed)


def mixture_weights(concepts: Sequence[Concept]) -> tuple[float, ...]:
    """Compute the share of each concept in the mixture of a query.

    Args:
        concepts: Phrases and examples, at least one of positive weight, as in every `Query` of concepts alone.

    Returns:
        A share for each, in order: positive weights are scaled to the sum 1, negative weights stay as they are. A
        single concept has the share 1 whatever its weight.

    Raises:
        PromptError: No concept has a positive weight.

    Example:
        >>> mixture_weights([TextPrompt("cat"), TextPrompt("lynx"), TextPrompt("dog", -0.5)])
        (0.5, 0.5, -0.5)
    """
    total = sum(concept.weight for concept in concepts if concept.weight > 0)
    if total <= 0:
        raise PromptError("a mixture needs at least one phrase or example of positive weight")
    return tuple(concept.weight / total if concept.weight > 0 else concept.weight for concept in concepts)


def _to_query(item: object) -> Query:
    if isinstance(item, Query):
        return item
    if isinstance(item, str):
        refuse_list(checked_phrase(item))
        item = TextPrompt(item)
    if isinstance(item, TextPrompt):
        return Query(item.text, (item,))
    if isinstance(item, _PROMPT_CLASSES):
        return Query(item.kind, (item,))
    raise PromptError(f"a query is a phrase, a prompt or a Query, not {type(item).__name__}")
