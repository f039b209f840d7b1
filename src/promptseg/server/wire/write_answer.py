"""Convert results to the answer of a request."""

from collections.abc import Iterable
from dataclasses import replace
from math import ceil, floor

from promptseg.ops.rle import decode_rle
from promptseg.results import Instance, QueryResult
from promptseg.server.wire.answers import InstanceAnswer, ResultAnswer
from promptseg.server.wire.mask_forms import WriteMask, shrink_instance

DECIMALS = 6


def write_results(
    results: Iterable[QueryResult],
    write_mask: WriteMask | None,
    mask_size_hw: tuple[int, int],
    *,
    with_instances: bool = True,
    decimals: int | None = DECIMALS,
) -> list[ResultAnswer]:
    """Convert results, in order.

    Args:
        results: Of the queries.
        write_mask: Writes each mask; None: they are left out.
        mask_size_hw: Size of the masks. At less than the image's, everything is measured at this size: for a large
            image that takes a fraction of the time.
        with_instances: Whether the answer has the single objects.
        decimals: Of probabilities; None: they are not rounded.
    """
    return [
        _write_result(
            result, shrink_result(result, mask_size_hw), write_mask, with_instances=with_instances, decimals=decimals
        )
        for result in results
    ]


def shrink_result(result: QueryResult, size_hw: tuple[int, int]) -> QueryResult:
    """Give a result at a smaller size of its image: from the model's map, or its mask, and its shrunken instances."""
    if result.size_hw == size_hw:
        return result
    instances, stored_mask = result.model_instances, result.stored_mask
    if instances is not None:
        instances = tuple(shrink_instance(each, size_hw) for each in instances)
    if stored_mask is not None:
        whole = Instance.from_mask(decode_rle(stored_mask), result.presence)
        stored_mask = shrink_instance(whole, size_hw).to_rle()
    return replace(result, size_hw=size_hw, model_instances=instances, stored_mask=stored_mask)


def _write_result(
    result: QueryResult,
    small: QueryResult,
    write_mask: WriteMask | None,
    *,
    with_instances: bool,
    decimals: int | None,
) -> ResultAnswer:
    return ResultAnswer(
        label=result.label,
        presence=_round(result.presence, decimals),
        is_present=result.is_present,
        status=result.status,
        read_as=result.read_as,
        area=_scale_area(small.area, small.size_hw, result.size_hw),
        mask=None if write_mask is None else write_mask(small.whole),
        instances=[_write_instance(each, result.size_hw, write_mask, decimals=decimals) for each in small.instances]
        if with_instances
        else None,
    )


def _round(probability: float, decimals: int | None) -> float:
    return probability if decimals is None else round(probability, decimals)


def _write_instance(
    small: Instance, size_hw: tuple[int, int], write_mask: WriteMask | None, *, decimals: int | None
) -> InstanceAnswer:
    quality = small.mask_quality
    return InstanceAnswer(
        box_xyxy=_scale_box(small.box_xyxy, small.size_hw, size_hw),
        score=_round(small.score, decimals),
        area=_scale_area(small.area, small.size_hw, size_hw),
        mask=None if write_mask is None else write_mask(small),
        mask_quality=None if quality is None else _round(quality, decimals),
    )


def _scale_area(area: int, small_hw: tuple[int, int], size_hw: tuple[int, int]) -> int:
    return round(area * (size_hw[0] / small_hw[0]) * (size_hw[1] / small_hw[1]))


def _scale_box(box_xyxy: tuple[int, int, int, int], small_hw: tuple[int, int], size_hw: tuple[int, int]) -> list[int]:
    """Give the smallest box of whole pixels around a box of larger ones."""
    left, top, right, bottom = box_xyxy
    step_x, step_y = size_hw[1] / small_hw[1], size_hw[0] / small_hw[0]
    return [
        floor(left * step_x),
        floor(top * step_y),
        min(size_hw[1], ceil(right * step_x)),
        min(size_hw[0], ceil(bottom * step_y)),
    ]
