"""Masks as polygons and back, judged by shapely and by pycocotools."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import shapely
from formats_world import inside
from pycocotools import mask as coco_mask

from promptseg.errors import PromptError
from promptseg.ops.polygons import (
    Polygon,
    fill_rings,
    join_holes,
    join_parts,
    ring_area,
    simplify_polygons,
    smooth_polygons,
    trace_polygons,
)
from promptseg.results import Instance

SIZES_HW = [(1, 1), (1, 7), (7, 1), (5, 6), (21, 17)]
SHARES = [0.2, 0.5, 0.6, 0.8, 0.95, 1.0]


def random_mask(size_hw: tuple[int, int], share: float) -> np.ndarray:
    mask = np.random.default_rng([*size_hw, round(100 * share)]).random(size_hw) < share
    mask[0, 0] = True
    return mask


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("size_hw", SIZES_HW)
def test_polygons_are_valid_and_cover_the_mask_exactly(size_hw: tuple[int, int], share: float) -> None:
    mask = random_mask(size_hw, share)
    polygons = trace_polygons(mask)
    shapes = [shapely.Polygon(polygon.outer, polygon.holes) for polygon in polygons]
    assert all(shape.is_valid for shape in shapes)
    assert sum(shape.area for shape in shapes) == mask.sum()
    assert all(ring_area(polygon.outer) > 0 > max(map(ring_area, polygon.holes), default=-1) for polygon in polygons)
    np.testing.assert_array_equal(fill_rings([r for p in polygons for r in (p.outer, *p.holes)], size_hw), mask)


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("size_hw", SIZES_HW)
def test_joined_rings_enclose_the_same_pixels(size_hw: tuple[int, int], share: float) -> None:
    mask = random_mask(size_hw, share)
    polygons = trace_polygons(mask)
    rings = [join_holes(polygon) for polygon in polygons]
    codes = coco_mask.frPyObjects([ring.ravel().astype(float).tolist() for ring in rings], *size_hw)
    np.testing.assert_array_equal(coco_mask.decode(coco_mask.merge(codes)), mask)
    single = join_parts(polygons)
    np.testing.assert_array_equal(inside(single.tolist(), size_hw), mask)
    np.testing.assert_array_equal(fill_rings([single], size_hw), mask)
    assert (single != np.roll(single, 1, axis=0)).any(axis=1).all(), "no corner twice in a row"


def test_only_corners_are_kept_and_the_origin_is_added() -> None:
    (polygon,) = trace_polygons(np.ones((30, 50), dtype=bool), origin_xy=(7, 9))
    assert sorted(polygon.outer.tolist()) == [[7, 9], [7, 39], [57, 9], [57, 39]]
    assert polygon.holes == ()


@pytest.mark.parametrize("tolerance", [0.5, 1.0, 3.0])
def test_simplified_outlines_stay_near_and_are_no_longer(tolerance: float) -> None:
    rows, columns = np.ogrid[:60, :80]
    distance = np.hypot(columns - 40, rows - 30)
    mask = (distance < 25) & (distance > 9)
    (exact,), (coarse,) = trace_polygons(mask), simplify_polygons(trace_polygons(mask), tolerance)
    for before, after in ((exact.outer, coarse.outer), (exact.holes[0], coarse.holes[0])):
        assert {tuple(corner) for corner in after.tolist()} < {tuple(corner) for corner in before.tolist()}
        assert np.sign(ring_area(before)) == np.sign(ring_area(after))
        assert shapely.LinearRing(after).hausdorff_distance(shapely.LinearRing(before)) <= tolerance + 1e-9
        expected = shapely.LinearRing(before).simplify(tolerance, preserve_topology=False)
        assert len(after) < 1.5 * len(expected.coords)


def test_simplifying_drops_small_holes_and_keeps_every_part() -> None:
    mask = np.zeros((30, 40), dtype=bool)
    mask[2:20, 2:30] = True
    mask[10:12, 10:12] = False
    mask[25, 35] = True
    large, small = simplify_polygons(trace_polygons(mask), 5.0)
    assert large.holes == ()
    assert sorted(large.outer.tolist()) == [[2, 2], [2, 20], [30, 2], [30, 20]]
    assert ring_area(small.outer) == 1
    polygons = trace_polygons(mask)
    assert simplify_polygons(polygons, 0.0) == polygons


def test_parts_that_meet_in_a_corner_are_two_polygons() -> None:
    assert len(trace_polygons(np.eye(3, dtype=bool))) == 3
    assert trace_polygons(np.zeros((4, 4), dtype=bool)) == ()


def test_filling_is_point_in_polygon_for_any_ring() -> None:
    generator = np.random.default_rng(0)
    for num_corners in (3, 4, 7, 12):
        ring = generator.uniform(-10, 50, (num_corners, 2))
        np.testing.assert_array_equal(fill_rings([ring], (40, 30)), inside(ring.tolist(), (40, 30)))


TOLERANCES = [0.1, 0.125, 0.3, 0.5, 0.7, 1.0, 1.3, 2.0, 3.0, 5.0, 8.0, 13.0, 40.0]


@pytest.mark.parametrize("size_hw", [(1, 1), (1, 9), (2, 30), (21, 17), (60, 80)])
@pytest.mark.parametrize("simplify", [simplify_polygons, smooth_polygons])
def test_a_larger_tolerance_never_gives_more_corners(
    simplify: Callable[[Sequence[Polygon], float], Sequence[Polygon]], size_hw: tuple[int, int]
) -> None:
    rows, columns = np.ogrid[: size_hw[0], : size_hw[1]]
    wave = np.abs(rows - size_hw[0] / 2 - 0.3 * size_hw[0] * np.sin(columns / 4)) < max(1, size_hw[0] / 6)
    for mask in (wave, random_mask(size_hw, 0.6), random_mask(size_hw, 0.9), np.ones(size_hw, dtype=bool)):
        traced = trace_polygons(mask)
        for each in traced:
            before = len(each.outer)
            for tolerance in TOLERANCES:
                (simpler,) = simplify([Polygon(each.outer)], tolerance)
                assert 3 <= len(simpler.outer) <= before and ring_area(simpler.outer) > 0
                before = len(simpler.outer)


@pytest.mark.parametrize("tolerance", [-1, float("nan"), float("inf"), "x", None, True])
def test_the_tolerance_of_an_instance_is_a_length(tolerance: object) -> None:
    instance = Instance.from_mask(np.ones((4, 4), dtype=bool), 0.9)
    with pytest.raises(PromptError, match="the tolerance is a number of pixels from 0 on, not"):
        instance.polygons(tolerance=tolerance)  # type: ignore[arg-type]
