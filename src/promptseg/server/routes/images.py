"""`/v1/images`: store an image and encode it, ask whether it is stored, forget it."""

from typing import Any

from fastapi import APIRouter, Query, Request, Response

from promptseg.server.core.image_store import image_not_found
from promptseg.server.core.service import Service
from promptseg.server.core.turn import Turn
from promptseg.server.json_answers import ERRORS, json_answer
from promptseg.server.refusals import RefusedRequest
from promptseg.server.wire.answers import ImageAnswer

_FILE: dict[str, Any] = {
    "requestBody": {
        "description": "The file: JPEG, PNG, WebP, AVIF, GIF, TIFF, BMP, PPM or JPEG 2000.",
        "required": True,
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}


def images_router(service: Service) -> APIRouter:
    """Make the router."""
    router = APIRouter(prefix="/v1/images", tags=["images"], responses=ERRORS)

    async def store(
        request: Request,
        encode: bool = Query(True, description="false: only store it, for an example in an exemplar prompt"),
        model: str | None = Query(None, description="The model that encodes it; left out: the first."),
    ) -> Response:
        """Store an image and encode it; `Predictor.encode`."""
        _check_media_type(request)
        encoded = await request.body()

        def work(turn: Turn) -> Response:
            is_new = not turn.images.holds(turn.images.name(encoded))
            image_id = turn.add(encoded)
            if encode:
                embedding = turn.open(image_id)
                with turn.timed("encode"):  # now, while the user thinks, and not with the first click
                    embedding.complete()
                turn.images.remeasure(image_id)
            return json_answer(_describe(service, image_id, turn.seconds), status=201 if is_new else 200)

        return await service.run(request, work, model=model)

    described: dict[str, Any] = {
        "response_model": ImageAnswer,
        "response_model_exclude_none": True,
        "responses": {201: {"model": ImageAnswer, "description": "The image is new."}},
        "openapi_extra": _FILE,
    }
    router.put("", operation_id="put_image", **described)(store)
    router.post("", operation_id="post_image", **described)(store)

    @router.get("/{image_id}", response_model=ImageAnswer)
    async def find(image_id: str) -> Response:
        """Say whether an image is still stored."""
        return json_answer(_describe(service, image_id, {}))

    @router.delete("/{image_id}", status_code=204)
    async def forget(image_id: str) -> None:
        """Forget an image."""
        if not service.images.drop(image_id):
            raise image_not_found(image_id)

    return router


def _check_media_type(request: Request) -> None:
    """Refuse forms and JSON; other types are not looked at, because programs state whatever they do by default.

    Raises:
        RefusedRequest: It is one of these (415).
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type in ("multipart/form-data", "application/json"):
        raise RefusedRequest(
            415,
            "unsupported_media_type",
            f"this route takes the bytes of an image as the body, not {media_type}",
            "send the file itself: `curl -T photo.jpg URL`; JSON goes to /v1/segment, with the image as "
            '{"base64": "..."}',
        )


def _describe(service: Service, image_id: str, seconds: dict[str, float]) -> ImageAnswer:
    height, width, _ = service.images.pixels(image_id).shape
    return ImageAnswer(
        id=image_id,
        size_hw=[height, width],
        is_encoded=service.images.is_encoded(image_id),
        expires_in_s=service.settings.cache_age_s,
        seconds=seconds,
    )
