"""`/v1/segment` and `/v1/propose`: queries about a picture."""

from collections.abc import Callable, Sequence

from fastapi import APIRouter, Request, Response

from promptseg.embedding import Embedding
from promptseg.results import QueryResult
from promptseg.server.core.service import Service
from promptseg.server.core.turn import Turn
from promptseg.server.json_answers import ERRORS, json_answer
from promptseg.server.wire.answers import SegmentAnswer
from promptseg.server.wire.mask_forms import mask_writer, shrunk_size
from promptseg.server.wire.read_queries import check_num_queries, find_image, read_queries
from promptseg.server.wire.requests import ProposeRequest, SegmentRequest
from promptseg.server.wire.write_answer import write_results


def segment_router(service: Service) -> APIRouter:
    """Make the router."""
    router = APIRouter(prefix="/v1", tags=["segmentation"], responses=ERRORS)

    @router.post("/segment", response_model=SegmentAnswer)
    async def segment(asked: SegmentRequest, request: Request) -> Response:
        """Answer a list of queries about a picture; `Predictor.segment`."""
        check_num_queries(len(asked.queries), limit=service.settings.max_queries)

        def work(turn: Turn) -> Response:
            def compute(embedding: Embedding) -> tuple[Sequence[QueryResult], float, float]:
                queries = read_queries(asked.queries, turn, embedding.size_hw)
                with turn.timed("segment"):
                    found = turn.predictor.segment(
                        embedding, queries, threshold=asked.threshold, mask_threshold=asked.mask_threshold
                    )
                return found, found.presence_threshold, found.mask_threshold

            return _answer(asked, turn, compute, with_instances=asked.instances)

        return await service.run(request, work, model=asked.model)

    @router.post("/propose", response_model=SegmentAnswer)
    async def propose(asked: ProposeRequest, request: Request) -> Response:
        """Give what a click, a box or a mask may mean, best first; `Predictor.propose`."""

        def work(turn: Turn) -> Response:
            def compute(embedding: Embedding) -> tuple[Sequence[QueryResult], float, float]:
                (query,) = read_queries([asked.query], turn, embedding.size_hw)
                with turn.timed("segment"):
                    found = turn.predictor.propose(embedding, query)
                return found, turn.predictor.presence_threshold, turn.predictor.segmenter.mask_threshold

            return _answer(asked, turn, compute)

        return await service.run(request, work, model=asked.model)

    return router


def _answer(
    asked: SegmentRequest | ProposeRequest,
    turn: Turn,
    compute: Callable[[Embedding], tuple[Sequence[QueryResult], float, float]],
    *,
    with_instances: bool = True,
) -> Response:
    """Open the picture, compute, and write the answer.

    Args:
        asked: The request.
        turn: Its turn at the device.
        compute: Gives results, presence threshold and mask threshold.
        with_instances: Whether the answer has the single objects.
    """
    image_id = find_image(asked.image, turn)
    embedding = turn.open(image_id)
    results, presence_threshold, mask_threshold = compute(embedding)
    turn.images.remeasure(image_id)
    mask_size_hw = shrunk_size(embedding.size_hw, asked.mask_long_side)
    with turn.timed("masks"):
        write_mask = mask_writer(asked.masks, embedding.size_hw, mask_size_hw)
        written = write_results(results, write_mask, with_instances=with_instances)
    return json_answer(
        SegmentAnswer(
            model=turn.predictor.name,
            fingerprint=turn.predictor.fingerprint,
            image=image_id,
            size_hw=list(embedding.size_hw),
            mask_size_hw=list(mask_size_hw),
            presence_threshold=presence_threshold,
            mask_threshold=mask_threshold,
            results=written,
            seconds=turn.seconds,
        )
    )
