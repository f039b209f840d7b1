"""`/label-studio`: the machine learning backend of Label Studio, docs/label-studio.md.

Source:
    The protocol as the client speaks it: label-studio 1.23.2, `label_studio/ml/api_connector.py` and `models.py`
    (Apache-2.0), and the examples of HumanSignal/label-studio-ml-backend @ d02cedf. The code is ours.
"""

import asyncio
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from promptseg.errors import ImageError, PromptsegError
from promptseg.server.core.service import Service
from promptseg.server.core.turn import Turn
from promptseg.server.json_answers import ERRORS, json_answer
from promptseg.server.label_studio.interaction import AskedRegion, read_questions
from promptseg.server.label_studio.labeling_interface import LabelingInterface
from promptseg.server.label_studio.predicted_regions import PredictedRegion, Question, all_labels, find_regions
from promptseg.server.label_studio.task_pictures import TaskPictureError, TaskPictures, find_reference
from promptseg.server.refusals import RefusedRequest

log = logging.getLogger(__name__)

# Pictures of tasks that are in memory at one time: being read, or waiting for the device.
MAX_PICTURES = 4


class HealthyAnswer(BaseModel):
    """The server answers."""

    status: Literal["UP"] = "UP"
    model_class: str = "promptseg"


class SetupRequest(BaseModel):
    """What Label Studio tells of a project when it connects, and before it retrieves predictions."""

    model_config = ConfigDict(extra="ignore")

    label_config: Annotated[str | None, Field(alias="schema")] = None
    access_token: str | None = None


class SetupAnswer(BaseModel):
    """Which predictions are up to date."""

    model_version: str


class VersionsAnswer(BaseModel):
    """The versions that there are."""

    versions: list[str]


class Task(BaseModel):
    """A task; its annotations are not read."""

    model_config = ConfigDict(extra="ignore")

    id: int | None = None
    data: dict[str, Any]


class Context(BaseModel):
    """What a person asks for."""

    model_config = ConfigDict(extra="ignore")

    result: list[AskedRegion] = Field(default_factory=list)


class PredictParams(BaseModel):
    """Parameters; the context is null when predictions are retrieved."""

    model_config = ConfigDict(extra="ignore")

    context: Context | None = None


class PredictionRequest(BaseModel):
    """Tasks to predict, or one task and what a person asks for in it."""

    model_config = ConfigDict(extra="ignore")

    tasks: list[Task] = Field(min_length=1)
    label_config: str
    params: PredictParams = Field(default_factory=PredictParams)


class TaskPrediction(BaseModel):
    """The regions of a task."""

    result: list[PredictedRegion]
    score: float
    model_version: str


class PredictionAnswer(BaseModel):
    """One entry for each task; an empty list for a task whose picture can't be had."""

    results: list[TaskPrediction | list[TaskPrediction]]


def label_studio_router(service: Service) -> APIRouter:
    """Make the router."""
    router = APIRouter(prefix="/label-studio", tags=["Label Studio"], responses=ERRORS)
    settings = service.settings
    pictures = TaskPictures(settings.label_studio, max_bytes=settings.max_body_bytes)
    places = asyncio.Semaphore(MAX_PICTURES)

    @router.get("")
    @router.get("/health")
    async def health() -> HealthyAnswer:
        """The server answers, whether its model is loaded or not."""
        return HealthyAnswer()

    @router.post("/setup")
    async def setup(asked: SetupRequest) -> SetupAnswer:
        """Check the labeling interface of a project, and name the version of the model."""
        predictor = service.models.find(None).require()
        if asked.access_token:
            pictures.keep_token(asked.access_token)
        if asked.label_config:
            with _logged("a project"):
                LabelingInterface.read(asked.label_config)
        return SetupAnswer(model_version=predictor.origin)

    @router.get("/versions")
    async def versions() -> VersionsAnswer:
        """Name the one version."""
        return VersionsAnswer(versions=[service.models.find(None).require().origin])

    @router.post("/webhook", status_code=201)
    async def webhook() -> dict[str, str]:
        """Take note of nothing: this server does not train."""
        return {"status": "ignored"}

    @router.post("/predict", response_model=PredictionAnswer)
    async def predict(asked: PredictionRequest, request: Request) -> Response:
        """Predict tasks by the labels of their project, or answer what a person asks for in one task."""
        context = asked.params.context
        if context is not None and len(asked.tasks) > 1:
            raise RefusedRequest(422, "invalid_request", "what a person asks for belongs to one task", "send one task")
        with _logged("a project"):
            interface = LabelingInterface.read(asked.label_config)
            questions = all_labels(interface) if context is None else read_questions(context.result, interface)

        async def ask(reference: str, question: Question) -> list[PredictedRegion]:
            async with places:
                encoded = await asyncio.to_thread(pictures.read, reference)

                def work(turn: Turn) -> list[PredictedRegion]:
                    return find_regions(turn, turn.add(encoded), question, max_queries=settings.max_queries)

                return await service.run(request, work)

        answers: list[list[PredictedRegion] | TaskPictureError | ImageError] = []
        for task in asked.tasks:
            try:
                with _logged(f"task {task.id}"):
                    found = [await ask(find_reference(task.data, each.field), each) for each in questions]
                answers.append([region for regions in found for region in regions])
            except (TaskPictureError, ImageError) as error:
                answers.append(error)
        model_version = service.models.find(None).require().origin
        return json_answer(_write_answer(answers, model_version))

    return router


@contextmanager
def _logged(what: str) -> Iterator[None]:
    """Log an error, without what the request names: Label Studio shows people no more of it than its status."""
    try:
        yield
    except PromptsegError as error:
        shown = f"{error.code}; {error.way_out}" if isinstance(error, RefusedRequest) else type(error).__name__
        log.warning("Label Studio: no prediction of %s: %s", what, shown)
        raise


def _write_answer(
    answers: Sequence[list[PredictedRegion] | TaskPictureError | ImageError], model_version: str
) -> PredictionAnswer:
    """Write an entry for each task.

    Raises:
        PromptsegError: The first one, if no task has an answer.
    """
    errors = [each for each in answers if isinstance(each, PromptsegError)]
    if len(errors) == len(answers):
        raise errors[0]
    return PredictionAnswer(
        results=[
            []
            if isinstance(each, PromptsegError)
            else TaskPrediction(
                result=each,
                score=max((region.score for region in each), default=0.0),
                model_version=model_version,
            )
            for each in answers
        ]
    )
