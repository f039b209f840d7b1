"""Write a request as `/v1/segment` takes it: the reverse of `server/wire`."""

import io
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from promptseg.errors import OutsideImageError, UnsupportedPromptError
from promptseg.ops.rle import encode_rle
from promptseg.prompts import BoxPrompt, ExemplarPrompt, MaskPrompt, PointPrompt, Prompt, Query, TextPrompt

# Gives the id under which the server stores the image of an example.
StoreExample: TypeAlias = Callable[[ExemplarPrompt], str]


def write_queries(queries: Sequence[Query], size_hw: tuple[int, int], store: StoreExample) -> list[dict[str, Any]]:
    """Convert queries.

    Args:
        queries: Of the request.
        size_hw: Height and width of the image, pixels.
        store: Stores the images of examples.

    Raises:
        OutsideImageError: A mask has another size than the image.
        UnsupportedPromptError: A mask is an earlier result with its map, which the API does not take.
    """
    for query in queries:
        for prompt in query.prompts:
            if isinstance(prompt, MaskPrompt):
                _check_mask(prompt, query.label, size_hw)
    return [
        {"label": query.label, "prompts": [_write_prompt(prompt, store) for prompt in query.prompts]}
        for query in queries
    ]


def write_region(region: BoxPrompt | MaskPrompt) -> dict[str, Any]:
    """Convert a region to look in."""
    if isinstance(region, BoxPrompt):
        return {"box_xyxy": list(region.box_xyxy)}
    return {"mask": encode_rle(region.mask)}


def encode_png(image_rgb: NDArray[np.uint8]) -> bytes:
    """Encode pixels, uint8, shape (H, W, 3), without loss; fast rather than small."""
    encoded = io.BytesIO()
    Image.fromarray(image_rgb).save(encoded, format="PNG", compress_level=1)
    return encoded.getvalue()


def _check_mask(prompt: MaskPrompt, label: str, size_hw: tuple[int, int]) -> None:
    # the server would stretch it over the image
    if prompt.mask.shape != size_hw:
        (rows, columns), (height, width) = prompt.mask.shape, size_hw
        raise OutsideImageError(f"the mask of {label!r} is {columns}x{rows} pixels, the image {width}x{height}")
    if prompt.logits is not None:
        raise UnsupportedPromptError(
            f"a server takes the mask of an earlier result without its map (query {label!r}): "
            "give MaskPrompt(result.mask)"
        )


def _write_prompt(prompt: Prompt, store: StoreExample) -> dict[str, Any]:
    match prompt:
        case TextPrompt():
            return {"kind": "text", "text": prompt.text, "weight": prompt.weight}
        case PointPrompt():
            return {"kind": "point", "points_xy": prompt.points_xy, "on_object": prompt.on_object}
        case BoxPrompt():
            return {"kind": "box", "box_xyxy": prompt.box_xyxy}
        case MaskPrompt():
            return {"kind": "mask", "mask": encode_rle(prompt.mask)}
        case ExemplarPrompt():
            written: dict[str, Any] = {"kind": "exemplar", "image": store(prompt), "weight": prompt.weight}
            if prompt.mask is not None:
                written["mask"] = encode_rle(prompt.mask)
            if prompt.box_xyxy is not None:
                written["box_xyxy"] = prompt.box_xyxy
            return written
