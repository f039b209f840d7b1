"""Convert results to the answer of a request."""

from collections.abc import Iterable

from promptseg.results import Instance, QueryResult
from promptseg.server.wire.answers import InstanceAnswer, ResultAnswer
from promptseg.server.wire.mask_forms import WriteMask

DECIMALS = 6


def write_results(
    results: Iterable[QueryResult], write_mask: WriteMask | None, *, with_instances: bool = True
) -> list[ResultAnswer]:
    """Convert results, in order.

    Args:
        results: Of the queries.
        write_mask: Writes each mask; None: they are left out.
        with_instances: Whether the answer has the single objects.
    """
    return [
        ResultAnswer(
            label=result.label,
            presence=round(result.presence, DECIMALS),
            is_present=result.is_present,
            status=result.status,
            read_as=result.read_as,
            area=result.area,
            mask=None if write_mask is None else write_mask(result.whole),
            instances=[_write_instance(each, write_mask) for each in result.instances] if with_instances else None,
        )
        for result in results
    ]


def _write_instance(instance: Instance, write_mask: WriteMask | None) -> InstanceAnswer:
    quality = instance.mask_quality
    return InstanceAnswer(
        box_xyxy=list(instance.box_xyxy),
        score=round(instance.score, DECIMALS),
        area=instance.area,
        mask=None if write_mask is None else write_mask(instance),
        mask_quality=None if quality is None else round(quality, DECIMALS),
    )
