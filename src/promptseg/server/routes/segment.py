"""`/v1/segment` and `/v1/propose`: queries about an image."""

from collections.abc import Sequence
from dataclasses import dataclass

from fastapi import APIRouter, Request, Response

from promptseg.results import QueryResult
from promptseg.server.core.service import Service
from promptseg.server.core.turn import Turn
from promptseg.server.json_answers import ERRORS, json_answer
from promptseg.server.wire.answers import SegmentAnswer
from promptseg.server.wire.mask_forms import mask_writer, shrunk_size
from promptseg.server.wire.read_queries import check_num_queries, find_image, read_queries, read_region
from promptseg.server.wire.requests import ProposeRequest, SegmentRequest
from promptseg.server.wire.write_answer import DECIMALS, write_results


def segment_router(service: Service) -> APIRouter:
    """Make the router."""
    router = APIRouter(prefix="/v1", tags=["segmentation"], responses=ERRORS)

    @router.post("/segment", response_model=SegmentAnswer)
    async def segment(asked: SegmentRequest, request: Request) -> Response:
        """Answer a list of queries about an image; `Predictor.segment`."""
        check_num_queries(len(asked.queries), limit=service.settings.max_queries)

        def work(turn: Turn) -> Response:
            image_id = find_image(asked.image, turn)
            if asked.within is None:
                turn.open(image_id)  # first: the examples of the queries may take its place in the store
            height, width, _ = turn.pixels(image_id).shape
            queries = read_queries(asked.queries, turn, (height, width))
            found = turn.segment(
                image_id,
                queries,
                threshold=asked.threshold,
                mask_threshold=asked.mask_threshold,
                within=read_region(asked.within, (height, width), turn.limits),
            )
            thresholds = AnswerThresholds(found.presence_threshold, found.unsure_threshold, found.mask_threshold)
            decimals = None if asked.exact else DECIMALS
            return _answer(asked, turn, image_id, found, thresholds, with_instances=asked.instances, decimals=decimals)

        return await service.run(request, work, model=asked.model)

    @router.post("/propose", response_model=SegmentAnswer)
    async def propose(asked: ProposeRequest, request: Request) -> Response:
        """Give what a click, a box or a mask may mean, best first; `Predictor.propose`."""

        def work(turn: Turn) -> Response:
            image_id = find_image(asked.image, turn)
            height, width, _ = turn.pixels(image_id).shape
            (query,) = read_queries([asked.query], turn, (height, width))
            found = turn.propose(image_id, query, within=read_region(asked.within, (height, width), turn.limits))
            thresholds = AnswerThresholds(
                turn.predictor.presence_threshold, None, turn.predictor.segmenter.mask_threshold
            )
            return _answer(asked, turn, image_id, found, thresholds)

        return await service.run(request, work, model=asked.model)

    return router


@dataclass(frozen=True)
class AnswerThresholds:
    """The thresholds of an answer, as `Segmentation` has them."""

    presence: float
    unsure: float | None
    mask: float


def _answer(
    asked: SegmentRequest | ProposeRequest,
    turn: Turn,
    image_id: str,
    results: Sequence[QueryResult],
    thresholds: AnswerThresholds,
    *,
    with_instances: bool = True,
    decimals: int | None = DECIMALS,
) -> Response:
    height, width, _ = turn.pixels(image_id).shape
    size_hw = height, width
    mask_size_hw = shrunk_size(size_hw, asked.mask_long_side)
    with turn.timed("masks"):
        write_mask = mask_writer(asked.masks, size_hw, mask_size_hw)
        written = write_results(results, write_mask, mask_size_hw, with_instances=with_instances, decimals=decimals)
    return json_answer(
        SegmentAnswer(
            model=turn.predictor.name,
            fingerprint=turn.predictor.fingerprint,
            image=image_id,
            size_hw=list(size_hw),
            mask_size_hw=list(mask_size_hw),
            presence_threshold=thresholds.presence,
            unsure_threshold=thresholds.unsure,
            mask_threshold=thresholds.mask,
            results=written,
            seconds=turn.seconds,
        )
    )
