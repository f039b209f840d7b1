"""`/hf`: the image segmentation task of Hugging Face's `InferenceClient`, docs/serve-hugging-face.md.

The client posts the bytes of an image, or with parameters JSON; phrases stand in the address: `/hf?text=cat`.
"""

import base64
import io
import json
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from numpy import uint8
from PIL import Image
from pydantic import BaseModel, ConfigDict, RootModel, TypeAdapter, ValidationError

from promptseg.results import Instance, Segmentation
from promptseg.server.core.service import Service
from promptseg.server.core.turn import Turn, decode_base64
from promptseg.server.json_answers import ERRORS, json_answer
from promptseg.server.refusals import RefusedRequest
from promptseg.server.wire.requests import Share


class Parameters(BaseModel):
    """Parameters of the task that mean something here; others are refused."""

    model_config = ConfigDict(extra="forbid")

    threshold: Share | None = None
    mask_threshold: Share | None = None
    subtask: Literal["instance", "semantic"] = "instance"


class TaskRequest(BaseModel):
    """The body of a request with parameters."""

    model_config = ConfigDict(extra="ignore")

    inputs: str
    parameters: Parameters = Parameters()


class LabeledMask(BaseModel):
    """One segment."""

    label: str
    score: float
    mask: str


class Segments(RootModel[list[LabeledMask]]):
    """The answer: one segment for each object, or for each phrase."""


_FILE_OR_JSON: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
            "application/json": {"schema": TaskRequest.model_json_schema()},
        },
    }
}


def hugging_face_router(service: Service) -> APIRouter:
    """Make the router."""
    router = APIRouter(tags=["Hugging Face"], responses=ERRORS)

    @router.post("/hf", response_model=Segments, openapi_extra=_FILE_OR_JSON)
    async def image_segmentation(
        request: Request,
        text: Annotated[list[str], Query(default_factory=list, description="A phrase; repeat it for more.")],
        model: str | None = None,
    ) -> Response:
        """Find the objects of phrases in an image."""
        if not text:
            raise RefusedRequest(
                422, "invalid_request", "no phrase was given", "put what to find into the address: /hf?text=cat"
            )
        body = await request.body()
        is_json = request.headers.get("content-type", "").startswith("application/json")

        def work(turn: Turn) -> Response:
            encoded, parameters = _read_task(body) if is_json else (body, Parameters())
            found = turn.segment(
                turn.add(encoded), text, threshold=parameters.threshold, mask_threshold=parameters.mask_threshold
            )
            return json_answer(_write_segments(found, parameters.subtask))

        return await service.run(request, work, model=model)

    return router


def _read_task(body: bytes) -> tuple[bytes, Parameters]:
    """Read image and parameters of a JSON body."""
    try:
        asked = TypeAdapter(TaskRequest).validate_python(json.loads(body))
    except ValidationError as error:
        raise RequestValidationError([{**each, "loc": ("body", *each["loc"])} for each in error.errors()]) from error
    except (ValueError, RecursionError) as error:
        raise RefusedRequest(400, "malformed_request", "the body is no JSON", "send JSON, or the image") from error
    return decode_base64(asked.inputs, what="inputs"), asked.parameters


def _write_segments(found: Segmentation, subtask: str) -> Segments:
    return Segments(
        [
            LabeledMask(label=result.label, score=round(each.score, 6), mask=_gray_png(each))
            for result in found
            if result.is_present
            for each in (result.instances if subtask == "instance" else (result.whole,))
        ]
    )


def _gray_png(instance: Instance) -> str:
    """Write a mask as the client's users know it: one byte for each pixel, 0 or 255."""
    encoded = io.BytesIO()
    Image.fromarray(instance.mask * uint8(255)).save(encoded, format="PNG")
    return base64.b64encode(encoded.getvalue()).decode()
