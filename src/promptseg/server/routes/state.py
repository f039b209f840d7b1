"""What the server is doing: `/healthz`, `/readyz`, `/v1/models`, `/v1/status` and `/v1/examples`."""

import time
from importlib.metadata import version

from fastapi import APIRouter, Response

from promptseg._prompt_checks import MAX_PHRASE_CHARACTERS
from promptseg.models.table import MODELS
from promptseg.prompts import MAX_POINTS
from promptseg.segmenter import Proposer
from promptseg.server.core.served_models import ServedModel
from promptseg.server.core.service import Service
from promptseg.server.json_answers import ERRORS, json_answer
from promptseg.server.wire.answers import (
    ExampleAnswer,
    ExamplesAnswer,
    GateAnswer,
    HealthAnswer,
    LimitsAnswer,
    LoadingAnswer,
    ModelAnswer,
    ModelsAnswer,
    ReadyAnswer,
    StatusAnswer,
    StoreAnswer,
)

# Phrases that show what the default model finds on the photographs of the package, and what it says is not there.
EXAMPLES = {
    "astronaut": ("person", "face", "hair", "dog"),
    "chelsea": ("cat", "background"),
    "coffee": ("mug", "wooden table"),
    "rocket": ("night sky", "boat"),
}


def state_router(service: Service) -> APIRouter:
    """Make the router."""
    router = APIRouter(tags=["state"], responses=ERRORS)
    started = time.monotonic()

    @router.get("/healthz")
    async def healthz() -> HealthAnswer:
        """The process answers."""
        return HealthAnswer()

    @router.head("/healthz", include_in_schema=False)
    async def head_of_healthz() -> None:
        """Answer monitors and load balancers that ask for the header alone."""

    @router.head("/readyz", include_in_schema=False)
    async def head_of_readyz() -> Response:
        """Likewise."""
        return Response(status_code=200 if service.models.state == "ready" else 503)

    @router.get("/readyz", response_model=ReadyAnswer, responses={503: {"model": ReadyAnswer}})
    async def readyz() -> Response:
        """Say whether every model is loaded, and what is loading."""
        state = service.models.state
        answer = ReadyAnswer(status=state, models=[_describe_loading(model) for model in service.models])
        return json_answer(answer, status=200 if state == "ready" else 503)

    @router.get("/v1/models", response_model_exclude_none=True)
    async def models() -> ModelsAnswer:
        """List the served models."""
        return ModelsAnswer(default=service.models.default, models=[_describe_model(model) for model in service.models])

    @router.get("/v1/examples")
    async def examples() -> ExamplesAnswer:
        """List the photographs that come with promptseg."""
        return ExamplesAnswer(
            examples=[
                ExampleAnswer(name=name, url=f"/photos/{name}.jpg", phrases=list(phrases))
                for name, phrases in EXAMPLES.items()
            ]
        )

    @router.get("/v1/status")
    async def status() -> StatusAnswer:
        """State limits, waiting requests and stored images."""
        return StatusAnswer(
            version=version("promptseg"),
            uptime_s=round(time.monotonic() - started, 3),
            needs_token=service.settings.token is not None,
            gates=[
                GateAnswer(
                    device=gate.device,
                    running=gate.num_running,
                    waiting=gate.num_waiting,
                    max_waiting=gate.max_waiting,
                )
                for gate in service.gates
            ],
            images=_describe_store(service),
            limits=_describe_limits(service),
        )

    return router


def _describe_loading(model: ServedModel) -> LoadingAnswer:
    progress = model.progress
    return LoadingAnswer(
        name=model.name,
        state=progress.state,
        step=progress.step,
        bytes_done=progress.bytes_done,
        bytes_total=progress.bytes_total,
        message=progress.message,
        seconds=round(model.seconds, 3),
    )


def _describe_model(model: ServedModel) -> ModelAnswer:
    row = MODELS.get(model.name)
    answer = ModelAnswer(
        name=model.name,
        state=model.progress.state,
        summary=None if row is None else row.summary,
        license=None if row is None else row.license,
    )
    predictor = model.predictor
    if predictor is None:
        return answer
    return answer.model_copy(
        update={
            "fingerprint": predictor.fingerprint,
            "engine": predictor.engine,
            "device": predictor.device,
            "prompt_kinds": sorted(predictor.prompt_kinds),
            "can_propose": isinstance(predictor.segmenter, Proposer),
            "can_panoptic": "text" in predictor.prompt_kinds,
            "presence_threshold": predictor.presence_threshold,
            "unsure_threshold": predictor.unsure_threshold,
            "mask_threshold": predictor.segmenter.mask_threshold,
        }
    )


def _describe_store(service: Service) -> StoreAnswer:
    counts = service.images.counts()
    return StoreAnswer(
        num_images=counts.num_images,
        bytes=counts.num_bytes,
        max_bytes=service.images.max_bytes,
        max_age_s=service.images.max_age_s,
        hits=counts.hits,
        misses=counts.misses,
        evictions=counts.evictions,
    )


def _describe_limits(service: Service) -> LimitsAnswer:
    settings = service.settings
    return LimitsAnswer(
        max_body_bytes=settings.max_body_bytes,
        max_body_s=settings.max_body_s,
        max_pixels=settings.max_pixels,
        max_queries=settings.max_queries,
        max_phrase_characters=MAX_PHRASE_CHARACTERS,
        max_points=MAX_POINTS,
        max_wait_s=settings.max_wait_s,
    )
