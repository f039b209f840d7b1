"""Make the ASGI application of a server from its models and settings."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any

import anyio.to_thread
from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.telemetry import TelemetryConfig
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware

from promptseg.errors import PromptsegError
from promptseg.predictor import Predictor
from promptseg.server.access import SAFE_HEADERS, SiteCheck, TokenCheck
from promptseg.server.body_limits import BodyLimits
from promptseg.server.core.gate import ClientGone
from promptseg.server.core.served_models import ModelSource, ServedModels
from promptseg.server.core.service import Service
from promptseg.server.metrics import Metrics
from promptseg.server.refusals import answer_library_error, error_answer, internal_error
from promptseg.server.request_log import RequestLog
from promptseg.server.routes.api_page import api_page_router
from promptseg.server.routes.hugging_face import hugging_face_router
from promptseg.server.routes.images import images_router
from promptseg.server.routes.label_studio import label_studio_router
from promptseg.server.routes.page_files import files_router, list_files
from promptseg.server.routes.panoptic_maps import panoptic_router
from promptseg.server.routes.segment import segment_router
from promptseg.server.routes.state import state_router
from promptseg.server.routes.x_anylabeling import x_anylabeling_router
from promptseg.server.settings import ServerSettings

log = logging.getLogger(__name__)

# What needs no token: whether the server is alive, and what its API is.
OPEN_ADDRESSES = ("/healthz", "/readyz", "/openapi.json", "/docs")

# How often forgotten images give their memory back while nobody asks.
SWEEP_S = 60.0
MIN_GZIP_BYTES = 1000

# FastAPI reports to OpenTelemetry where a process has it set up, with the messages of errors: this server never does.
NO_TELEMETRY: TelemetryConfig = {
    "tracing": False,
    "metrics": False,
    "logs": False,
    "operation_spans": False,
    "auto_configure": False,
}

ROUTERS: tuple[Callable[[Service], APIRouter], ...] = (
    state_router,
    images_router,
    segment_router,
    panoptic_router,
    hugging_face_router,
    label_studio_router,
    x_anylabeling_router,
)


def create_app(
    models: Predictor | ModelSource | Sequence[Predictor | ModelSource], settings: ServerSettings | None = None
) -> FastAPI:
    """Make the application; any ASGI server runs it.

    Args:
        models: A loaded predictor, or a `ModelSource` that is loaded while the server already answers; of several, the
            first answers requests that name no model.
        settings: None: the defaults.

    Raises:
        PromptError: There is no model, or two have one name.
        MissingExtraError: Metrics are asked for, and prometheus-client is not installed.
    """
    listed = [models] if isinstance(models, Predictor | ModelSource) else list(models)
    settings = settings or ServerSettings()
    service = Service(ServedModels(listed), settings)
    metrics = Metrics(service) if settings.metrics else None
    files = list_files()
    app = FastAPI(
        title="promptseg",
        version=version("promptseg"),
        description="Prompt-guided image segmentation. docs/serve.md describes the routes and the codes of errors.",
        telemetry=NO_TELEMETRY,
        docs_url=None,
        redoc_url=None,
        lifespan=_lifespan(service),
        middleware=[
            Middleware(RequestLog, metrics.count_request if metrics else None),
            Middleware(SiteCheck, settings),
            # answers the preflight requests of the origins that may ask
            Middleware(CORSMiddleware, settings.allowed_origins, allow_methods=["*"], allow_headers=["*"]),
            Middleware(TokenCheck, settings.token, {*files, *OPEN_ADDRESSES}),
            Middleware(BodyLimits, settings),
            Middleware(GZipMiddleware, minimum_size=MIN_GZIP_BYTES),
        ],
    )
    app.state.service = service
    for router in ROUTERS:
        app.include_router(router(service))
    app.include_router(api_page_router(app.openapi))
    app.include_router(files_router(files))
    if metrics is not None:
        service.watchers.append(metrics.count_steps)
        app.include_router(metrics.router())
    _handle_errors(app)
    return app


def _lifespan(service: Service) -> Callable[[FastAPI], Any]:
    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        loading = asyncio.create_task(_load_models(service.models))
        sweeping = asyncio.create_task(_sweep(service))
        yield
        for task in (loading, sweeping):
            task.cancel()
        service.close()

    return lifespan


async def _sweep(service: Service) -> None:
    while True:
        await asyncio.sleep(SWEEP_S)
        service.images.drop_old()


async def _load_models(models: ServedModels) -> None:
    """Load one model after the other; a failure of one does not keep the others from loading."""
    for model in models:
        # abandoned when the server ends: a model may take minutes to fetch
        loading = asyncio.create_task(anyio.to_thread.run_sync(model.load, abandon_on_cancel=True))
        try:
            await asyncio.wait((loading,))
        finally:
            loading.cancel()
        if (bug := loading.exception()) is not None:
            log.error("loading %s ended by a bug", model.name, exc_info=bug)


def _handle_errors(app: FastAPI) -> None:
    @app.exception_handler(PromptsegError)
    async def library_error(_: Request, error: PromptsegError) -> Response:
        if isinstance(error, ClientGone):
            return Response(status_code=499)
        return answer_library_error(error)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        return answer_invalid(request, error)

    @app.exception_handler(HTTPException)
    async def http_error(_: Request, error: HTTPException) -> Response:
        return answer_http_error(error)

    @app.exception_handler(Exception)
    async def bug(_: Request, error: Exception) -> Response:
        answer = internal_error()
        # it does not pass the middleware that adds them
        answer.headers.update(SAFE_HEADERS)
        return answer


def answer_invalid(request: Request, error: RequestValidationError) -> Response:
    """Say which fields of a request are wrong; values of the request are not repeated."""
    problems = error.errors()
    if any(each["type"] == "json_invalid" for each in problems):
        return error_answer(400, "malformed_request", "the body is no JSON", "send JSON")
    if any(tuple(each["loc"]) == ("body",) for each in problems) and not _is_json(request):
        return error_answer(
            415,
            "unsupported_media_type",
            "this route takes JSON",
            "send a JSON body with the header `Content-Type: application/json`",
        )
    described = [
        f"{'.'.join(str(part) for part in each['loc'][1:]) or each['loc'][0]}: {each['msg']}" for each in problems[:3]
    ]
    more = f"; and {len(problems) - 3} more" if len(problems) > 3 else ""
    return error_answer(
        422, "invalid_request", "; ".join(described) + more, "GET /openapi.json describes the fields of each route"
    )


def answer_http_error(error: HTTPException) -> Response:
    """Give the errors of the framework the body of all others."""
    code, way_out = {
        404: ("no_such_route", "GET /openapi.json lists the routes"),
        405: ("method_not_allowed", "use a method that the header Allow names"),
    }.get(error.status_code, ("malformed_request", "GET /openapi.json describes the requests"))
    return error_answer(error.status_code, code, str(error.detail), way_out, headers=error.headers)


def _is_json(request: Request) -> bool:
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    return media_type == "application/json" or media_type.endswith("+json")
