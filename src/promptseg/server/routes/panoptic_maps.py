"""`/v1/panoptic`: a class of a list for every pixel of an image."""

from fastapi import APIRouter, Request, Response

from promptseg.results.panoptic import Panoptic
from promptseg.server.core.service import Service
from promptseg.server.core.turn import Turn
from promptseg.server.json_answers import ERRORS, json_answer
from promptseg.server.wire.answers import ClassOfMap, PanopticAnswer, SegmentOfMap
from promptseg.server.wire.mask_forms import WriteMask, mask_writer, shrunk_size
from promptseg.server.wire.read_queries import check_num_queries, find_image, read_region
from promptseg.server.wire.requests import PanopticRequest
from promptseg.server.wire.write_answer import DECIMALS


def panoptic_router(service: Service) -> APIRouter:
    """Make the router."""
    router = APIRouter(prefix="/v1", tags=["segmentation"], responses=ERRORS)

    @router.post("/panoptic", response_model=PanopticAnswer)
    async def panoptic(asked: PanopticRequest, request: Request) -> Response:
        """Give every pixel of an image a class of a list, or none; `Predictor.panoptic`."""
        check_num_queries(len(asked.names or ()), limit=service.settings.max_queries)

        def work(turn: Turn) -> Response:
            image_id = find_image(asked.image, turn)
            height, width, _ = turn.pixels(image_id).shape
            found = turn.panoptic(
                image_id,
                asked.names,
                stuff=asked.stuff,
                unlabelled=asked.unlabelled,
                min_score=asked.min_score,
                min_area=asked.min_area,
                within=read_region(asked.within, (height, width), turn.limits),
            )
            mask_size_hw = shrunk_size(found.size_hw, asked.mask_long_side)
            with turn.timed("masks"):
                segments = _write_segments(found, mask_writer(asked.masks, found.size_hw, mask_size_hw))
            answer = PanopticAnswer(
                model=found.model,
                fingerprint=found.fingerprint,
                image=image_id,
                size_hw=list(found.size_hw),
                mask_size_hw=list(mask_size_hw),
                presence_threshold=found.presence_threshold,
                unlabelled=found.unlabelled,
                unlabelled_share=round(found.unlabelled_share, DECIMALS),
                classes=_write_classes(found),
                segments=segments,
                seconds=turn.seconds,
            )
            return json_answer(answer)

        return await service.run(request, work, model=asked.model)

    return router


def _write_classes(found: Panoptic) -> list[ClassOfMap]:
    return [
        ClassOfMap(
            label=one.label,
            synonyms=list(one.synonyms),
            is_thing=one.is_thing,
            decided_by=one.decided_by,
            presence=round(presence, DECIMALS),
        )
        for one, presence in zip(found.classes, found.presence, strict=True)
    ]


def _write_segments(found: Panoptic, write_mask: WriteMask | None) -> list[SegmentOfMap]:
    return [
        SegmentOfMap(
            id=segment.id,
            label=segment.label,
            is_thing=segment.is_thing,
            score=round(segment.score, DECIMALS),
            area=segment.area,
            box_xyxy=list(segment.box_xyxy),
            mask=None if write_mask is None else write_mask(found.instance(segment)),
        )
        for segment in found.segments
    ]
