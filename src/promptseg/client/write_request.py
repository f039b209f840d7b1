"""Write a request as `/v1/segment` takes it: the reverse of `server/wire`."""

import io
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from promptseg.errors import UnsupportedPromptError
from promptseg.ops.rle import encode_rle
from promptseg.prompts import BoxPrompt, ExemplarPrompt, MaskPrompt, PointPrompt, Prompt, Query, TextPrompt

# Gives the id under which the server stores the image of an example.
StoreExample: TypeAlias = Callable[[ExemplarPrompt], str]


def write_queries(queries: Sequence[Query], store: StoreExample) -> list[dict[str, Any]]:
    """Convert queries.

    Args:
        queries: Of the request.
        store: Stores the images of examples.

    Raises:
        UnsupportedPromptError: A mask is an earlier result with its map, which the API does not take.
    """
    return [
        {"label": query.label, "prompts": [_write_prompt(prompt, query.label, store) for prompt in query.prompts]}
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


def _write_prompt(prompt: Prompt, label: str, store: StoreExample) -> dict[str, Any]:
    match prompt:
        case TextPrompt():
            return {"kind": "text", "text": prompt.text, "weight": prompt.weight}
        case PointPrompt():
            return {"kind": "point", "points_xy": prompt.points_xy, "on_object": prompt.on_object}
        case BoxPrompt():
            return {"kind": "box", "box_xyxy": prompt.box_xyxy}
        case MaskPrompt(logits=None):
            return {"kind": "mask", "mask": encode_rle(prompt.mask)}
        case MaskPrompt():
            raise UnsupportedPromptError(
                f"a server takes the mask of an earlier result without its map (query {label!r}): "
                "give MaskPrompt(result.mask)"
            )
        case ExemplarPrompt():
            written: dict[str, Any] = {"kind": "exemplar", "image": store(prompt), "weight": prompt.weight}
            if prompt.mask is not None:
                written["mask"] = encode_rle(prompt.mask)
            if prompt.box_xyxy is not None:
                written["box_xyxy"] = prompt.box_xyxy
            return written
