"""The two functions of CVAT's serverless part (nuclio): one answers phrases, one answers clicks; see docs/cvat.md.

`integrations/cvat` has the files that nuclio deploys. A context and an event are nuclio's own objects.

Source:
    The protocol as CVAT speaks it: cvat-ai/cvat, `cvat/apps/lambda_manager/views.py` @ 024777e, and its function
    `serverless/pytorch/facebookresearch/sam2/nuclio/main.py` @ 158dbba (MIT). The code is ours.
"""

import base64
import binascii
import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from promptseg.cvat.clicks import read_clicks
from promptseg.cvat.codes import encode_bits, outline
from promptseg.embedding import Embedding
from promptseg.errors import PromptError, PromptsegError
from promptseg.images import read_image
from promptseg.predictor import Predictor

Handler = Callable[[Any, Any], Any]


def detector(predictor: Predictor, labels: Mapping[str, str]) -> Handler:
    """Make the handler of a detector.

    Args:
        predictor: The model.
        labels: Phrases by label; the labels are those of the function's file.

    Returns:
        A function of nuclio's context and event. Its answer lists objects: label, confidence, mask and outline.
    """

    def find(body: Mapping[str, Any]) -> Any:
        found = predictor.segment(_read_picture(body), list(labels.values()), threshold=body.get("threshold"))
        return [
            {
                "label": label,
                "confidence": f"{each.score:.4f}",
                "type": "mask",
                "points": outline(each),
                "mask": encode_bits(each),
            }
            for label, result in zip(labels, found, strict=True)
            if result.is_present
            for each in result.instances
        ]

    return _handler(find)


def interactor(predictor: Predictor) -> Handler:
    """Make the handler of an interactor.

    Args:
        predictor: The model.

    Returns:
        A function of nuclio's context and event. Its answer is the mask of the object, rows of 0 and 1.
    """
    last: dict[bytes, Embedding] = {}

    def find(body: Mapping[str, Any]) -> Any:
        query = read_clicks(body.get("pos_points") or (), body.get("neg_points") or (), body.get("obj_bbox"))
        image_rgb = _read_picture(body)
        # CVAT sends the picture with every click
        name = hashlib.sha256(image_rgb.data).digest() + repr(image_rgb.shape).encode()
        if name not in last:
            embedding = predictor.encode(image_rgb)
            last.clear()
            last[name] = embedding
        return {"mask": predictor.segment(last[name], query)[0].mask.astype(int).tolist()}

    return _handler(find)


def _handler(find: Callable[[Mapping[str, Any]], Any]) -> Handler:
    """Answer events by JSON: 200, or 400 with what is wrong. A bug is left to nuclio, which logs it and answers 500."""

    def handle(context: Any, event: Any) -> Any:
        try:
            status, answer = 200, find(_read_body(event.body))
        except PromptsegError as error:
            context.logger.error(str(error))
            status, answer = 400, {"error": str(error)}
        return context.Response(
            body=json.dumps(answer), headers={}, content_type="application/json", status_code=status
        )

    return handle


def _read_body(body: Any) -> Mapping[str, Any]:
    """Read the body of an event, which nuclio decodes where its type is JSON."""
    try:
        read = json.loads(body) if isinstance(body, bytes | str) else body
    except (ValueError, RecursionError) as error:
        raise PromptError("the body of the event is no JSON") from error
    if not isinstance(read, dict):
        raise PromptError("the body of the event is no JSON object")
    return read


def _read_picture(body: Mapping[str, Any]) -> NDArray[np.uint8]:
    try:
        encoded = base64.b64decode(body.get("image", ""), validate=True)
    except (binascii.Error, ValueError, TypeError) as error:
        raise PromptError(f"image is no base64: {error}") from error
    return read_image(encoded)
