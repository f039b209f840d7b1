"""`/x-anylabeling`: the remote server of X-AnyLabeling, docs/serve-x-anylabeling.md.

Source:
    The protocol as the client speaks it: CVHub520/X-AnyLabeling, services/auto_labeling/remote_server.py @ 0f38687,
    and as its own server documents it: CVHub520/X-AnyLabeling-Server, docs/router.md @ aad6ffa. The code is ours.
"""

import re
from collections.abc import Iterator
from typing import Any, Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from promptseg.errors import PromptError
from promptseg.ops.polygons import TOLERANCE, Polygon, join_holes
from promptseg.predictor import Predictor
from promptseg.prompts import BoxPrompt, PointPrompt, Prompt, Query, TextPrompt
from promptseg.results import Instance, Segmentation
from promptseg.server.core.service import Service
from promptseg.server.core.turn import Turn, decode_base64
from promptseg.server.json_answers import ERRORS, json_answer
from promptseg.server.wire.read_queries import check_num_queries
from promptseg.server.wire.requests import Number, Share

# What the client itself calls an object that has no name yet; it then asks its user for one.
UNNAMED = "AUTOLABEL_OBJECT"

# The client's slider for the fineness of polygons, in steps of 0.0001 of their perimeter.
DEFAULT_FINENESS = 10


class Mark(BaseModel):
    """A point or a rectangle, in pixels; label 1: on the object, 0: beside it."""

    type: Literal["point", "rectangle"]
    data: list[Number]
    label: Literal[0, 1] = 1


class PredictParameters(BaseModel):
    """What the client sends along; parameters of other kinds of models are left unread."""

    model_config = ConfigDict(extra="ignore")

    text_prompt: str = ""
    marks: list[Mark] = Field(default_factory=list)
    conf_threshold: Share = 0.0
    epsilon_factor: Share = 0.0


class PredictRequest(BaseModel):
    """An image and what to find in it."""

    model: str
    image: str
    params: PredictParameters = Field(default_factory=PredictParameters)


class PredictedShape(BaseModel):
    """A polygon; its last point is its first one."""

    label: str
    shape_type: Literal["polygon"] = "polygon"
    points: list[list[float]]
    score: float
    group_id: int | None


class PredictData(BaseModel):
    """The shapes, and whether they replace those that are there: null leaves that to the client's switch."""

    shapes: list[PredictedShape]
    description: str = ""
    replace: bool | None = None


class PredictAnswer(BaseModel):
    """The envelope of the protocol."""

    success: Literal[True] = True
    data: PredictData


def x_anylabeling_router(service: Service) -> APIRouter:
    """Make the router."""
    router = APIRouter(prefix="/x-anylabeling", tags=["X-AnyLabeling"], responses=ERRORS)

    @router.get("/health")
    async def health() -> dict[str, str]:
        """The server answers."""
        return {"status": "healthy"}

    @router.get("/v1/models")
    async def models() -> dict[str, Any]:
        """List the served models, and which of the client's controls each needs."""
        return {"success": True, "data": {model.name: _describe(model.require()) for model in service.models}}

    @router.get("/v1/models/{model_id}/info")
    async def info(model_id: str) -> dict[str, Any]:
        """Describe a served model."""
        return {"success": True, "data": {"model_id": model_id, **_describe(service.models.find(model_id).require())}}

    @router.post("/v1/predict", response_model=PredictAnswer)
    async def predict(asked: PredictRequest, request: Request) -> Response:
        """Find what a text or marks mean."""
        queries = _read_queries(asked.params)
        check_num_queries(len(queries), limit=service.settings.max_queries)

        def work(turn: Turn) -> Response:
            # the client sends 0 where its user has set nothing
            threshold = asked.params.conf_threshold or None
            image_id = turn.add(decode_base64(asked.image, what="the image"))
            found = turn.segment(image_id, queries, threshold=threshold)
            shapes = list(_write_shapes(found, asked.params.epsilon_factor))
            return json_answer(PredictAnswer(data=PredictData(shapes=shapes)))

        return await service.run(request, work, model=asked.model)

    return router


def _describe(predictor: Predictor) -> dict[str, Any]:
    """Name the client's controls that the prompt kinds of a model need, with their first values."""
    kinds = predictor.prompt_kinds
    widgets: dict[str, Any] = {}
    if "text" in kinds:
        widgets |= {"edit_text": None, "button_send": None}
    if "point" in kinds:
        widgets |= {"button_add_point": None, "button_remove_point": None}
    if "box" in kinds:
        widgets |= {"button_add_rect": None}
    if kinds & {"point", "box"}:
        widgets |= {"button_clear": None, "button_finish_object": None}
    widgets |= {
        "input_conf": None,
        "edit_conf": round(predictor.presence_threshold, 2),
        "mask_fineness_slider": DEFAULT_FINENESS,
        "mask_fineness_value_label": None,
        "toggle_preserve_existing_annotations": False,
    }
    return {
        "display_name": f"promptseg: {predictor.name}",
        "widgets": [{"name": name, "value": value} for name, value in widgets.items()],
        "params": {},
        "batch_processing_mode": "text_prompt" if "text" in kinds else None,
    }


def _read_queries(params: PredictParameters) -> list[Query]:
    """Read phrases, which commas or full stops separate, and marks, which belong to one object.

    Raises:
        PromptError: There is nothing to find, or marks come with several phrases or rectangles beside the object.
    """
    phrases = list(dict.fromkeys(phrase.strip() for phrase in re.split("[,.]", params.text_prompt) if phrase.strip()))
    prompts = _read_marks(params.marks)
    if not prompts:
        if not phrases:
            raise PromptError("nothing was asked for: give a text, a point or a rectangle")
        return [Query(phrase, (TextPrompt(phrase),)) for phrase in phrases]
    if len(phrases) > 1:
        raise PromptError(f"marks belong to one phrase, not to {len(phrases)}: clear the marks, or give one phrase")
    return [Query(phrases[0] if phrases else UNNAMED, (*map(TextPrompt, phrases), *prompts))]


def _read_marks(marks: list[Mark]) -> list[Prompt]:
    points = [mark for mark in marks if mark.type == "point"]
    boxes = [mark for mark in marks if mark.type == "rectangle"]
    if any(len(mark.data) != (2 if mark.type == "point" else 4) for mark in marks):
        raise PromptError("a point is [x, y] and a rectangle [left, top, right, bottom], in pixels")
    if any(not box.label for box in boxes):
        raise PromptError("a rectangle says where the object is; use points for where it is not")
    prompts: list[Prompt] = [BoxPrompt(_ordered((box.data[0], box.data[1], box.data[2], box.data[3]))) for box in boxes]
    if points:
        points_xy = tuple((mark.data[0], mark.data[1]) for mark in points)
        prompts.append(PointPrompt(points_xy, tuple(bool(mark.label) for mark in points)))
    return prompts


def _ordered(box: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    """Order the corners of a rectangle, which may be drawn from any of them."""
    x0, y0, x1, y1 = box
    return min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)


def _write_shapes(found: Segmentation, epsilon_factor: float) -> Iterator[PredictedShape]:
    """Write the outlines of all objects, without those that the model is unsure of; the parts of one share a group."""
    group_id = 0
    for result in found:
        for instance in result.instances if result.is_present else ():
            polygons = _simplified(instance, epsilon_factor)
            group_id += len(polygons) > 1
            for polygon in polygons:
                ring = join_holes(polygon).astype(float).tolist()
                yield PredictedShape(
                    label=result.label,
                    points=[*ring, ring[0]],
                    score=round(instance.score, 4),
                    group_id=group_id if len(polygons) > 1 else None,
                )


def _simplified(instance: Instance, epsilon_factor: float) -> tuple[Polygon, ...]:
    """Give the outlines of an object, simplified by a share of the box's perimeter: what the client's slider sets."""
    left, top, right, bottom = instance.box_xyxy
    tolerance = epsilon_factor * 2 * (right - left + bottom - top)
    return instance.polygons(tolerance=max(TOLERANCE, tolerance))
