"""Convert the queries of a request to the library's own prompts."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from promptseg.errors import OutsideImageError, PromptError
from promptseg.images import ImageLimits, read_mask
from promptseg.ops.rle import coco_rle, decode_rle
from promptseg.prompts import BoxPrompt, ExemplarPrompt, MaskPrompt, PointPrompt, Prompt, Query, QueryLike, TextPrompt
from promptseg.server.core.image_store import ID_CHARACTERS
from promptseg.server.core.turn import Turn, decode_base64
from promptseg.server.refusals import RefusedRequest
from promptseg.server.wire.requests import (
    AskedBox,
    AskedExemplar,
    AskedMaskPrompt,
    AskedPoints,
    AskedPrompt,
    AskedQuery,
    AskedRegion,
    AskedText,
    InlineFile,
    PngMask,
    RleMask,
)

# Each side of a mask may differ by so many pixels from the scaled side of its image.
MAX_ROUNDING = 1.0


def find_image(reference: str | InlineFile, turn: Turn) -> str:
    """Give the id of an image; one that comes with the request is stored.

    Raises:
        ImageError: It is no image, or is too large.
        RefusedRequest: It is no base64 (400), or a text that is no id (422).
    """
    if isinstance(reference, str):
        if len(reference) > ID_CHARACTERS or ":" in reference:
            raise RefusedRequest(
                422,
                "invalid_request",
                f"image: {reference[:ID_CHARACTERS] + '…'!r} is no id of a stored image",
                'send the file as {"base64": "..."}, or its id after PUT /v1/images; addresses are not fetched',
            )
        return reference
    return turn.add(decode_base64(reference.base64, what="the image"))


def check_num_queries(num_queries: int, *, limit: int) -> None:
    """Check the length of a request.

    Raises:
        RefusedRequest: It has too many queries (413).
    """
    if num_queries > limit:
        raise RefusedRequest(
            413, "too_many_queries", f"{num_queries:,} queries in one request; the limit is {limit:,}", "ask in parts"
        )


def read_queries(asked: Sequence[str | AskedQuery], turn: Turn, size_hw: tuple[int, int]) -> tuple[QueryLike, ...]:
    """Convert queries.

    Args:
        asked: Of the request.
        turn: Has the images of the examples.
        size_hw: Height and width of the image, pixels.

    Raises:
        PromptError: A prompt is malformed; the message names its query.
        ImageError: The image of an example, or a mask, can't be read or is too large.
        RefusedRequest: The image of an example is not stored (404), or something is no base64 (400).
    """
    return tuple(each if isinstance(each, str) else _read_query(each, turn, size_hw) for each in asked)


def read_region(
    asked: AskedRegion | None, size_hw: tuple[int, int], limits: ImageLimits
) -> BoxPrompt | MaskPrompt | None:
    """Convert the region to look in; None: everywhere.

    Args:
        asked: Of the request.
        size_hw: Height and width of the image, pixels.
        limits: Of a mask.

    Raises:
        PromptError: It is not one of box and mask, or is malformed.
        ImageError: The mask can't be read or is too large.
        RefusedRequest: The mask is no base64 (400).
    """
    if asked is None:
        return None
    if (asked.box_xyxy is None) == (asked.mask is None):
        raise PromptError("within is a box (box_xyxy) or a mask (mask): give one of them")
    if asked.box_xyxy is not None:
        return BoxPrompt(_as_box(asked.box_xyxy))
    assert asked.mask is not None
    return MaskPrompt(_read_mask(asked.mask, size_hw, limits))


def _read_query(asked: AskedQuery, turn: Turn, size_hw: tuple[int, int]) -> Query:
    return Query(asked.label, tuple(_read_prompt(prompt, turn, size_hw) for prompt in asked.prompts))


def _read_prompt(asked: AskedPrompt, turn: Turn, size_hw: tuple[int, int]) -> Prompt:
    match asked:
        case AskedText():
            return TextPrompt(asked.text, asked.weight)
        case AskedPoints():
            points_xy = tuple((x, y) for x, y in asked.points_xy)
            return PointPrompt(points_xy, None if asked.on_object is None else tuple(asked.on_object))
        case AskedBox():
            return BoxPrompt(_as_box(asked.box_xyxy))
        case AskedMaskPrompt():
            return MaskPrompt(_read_mask(asked.mask, size_hw, turn.limits))
        case AskedExemplar():
            image_rgb = turn.pixels(find_image(asked.image, turn))
            height, width, _ = image_rgb.shape
            mask = None if asked.mask is None else _read_mask(asked.mask, (height, width), turn.limits)
            box_xyxy = None if asked.box_xyxy is None else _as_box(asked.box_xyxy)
            return ExemplarPrompt(image_rgb, mask, box_xyxy, asked.weight)


def _as_box(numbers: Sequence[float]) -> tuple[float, float, float, float]:
    left, top, right, bottom = numbers
    return left, top, right, bottom


def _read_mask(asked: RleMask | PngMask, size_hw: tuple[int, int], limits: ImageLimits) -> NDArray[np.bool_]:
    """Read a mask and stretch it over its image, shape `size_hw`."""
    if isinstance(asked, PngMask):
        mask = read_mask(decode_base64(asked.png, what="the mask"), limits=limits)
    else:
        height, width = asked.size
        if height * width > limits.max_pixels:
            raise PromptError(f"a mask of {height} x {width} pixels (H x W); the limit is {limits.max_pixels:,}")
        try:
            mask = decode_rle(coco_rle({"size": asked.size, "counts": asked.counts}, (height, width)))
        except ValueError as error:
            raise PromptError(f"the mask can't be read: {error}") from error
    return stretch_mask(mask, size_hw)


def stretch_mask(mask: NDArray[np.bool_], size_hw: tuple[int, int]) -> NDArray[np.bool_]:
    """Bring a mask, shape (h, w), to the size of its image; each pixel takes the value at its center.

    Raises:
        OutsideImageError: The mask has another shape than the image.
    """
    (h, w), (height, width) = mask.shape, size_hw
    # the smallest and the largest scale from which rounding leads to these sides
    least = max((h - MAX_ROUNDING) / height, (w - MAX_ROUNDING) / width)
    most = min((h + MAX_ROUNDING) / height, (w + MAX_ROUNDING) / width)
    if least > most:
        raise OutsideImageError(
            f"a mask of {h} x {w} pixels (H x W) for an image of {height} x {width}: it covers the whole image, at "
            "any size, in the same shape"
        )
    rows = ((np.arange(height) + 0.5) * h / height).astype(np.intp)
    columns = ((np.arange(width) + 0.5) * w / width).astype(np.intp)
    return mask if mask.shape == size_hw else mask[rows[:, None], columns]
