"""Polygons that people can edit: far fewer corners by default, the exact mask where that is asked for."""

import json
from pathlib import Path

import numpy as np
import pytest
from formats_world import disc, make_segmentation

from promptseg.errors import OutputError
from promptseg.formats.dataset import read, write
from promptseg.ops.polygons import fill_rings, smooth_polygons, trace_polygons

POLYGON_FORMATS = ("coco-polygons", "yolo", "labelstudio-polygons", "labelme", "geojson")

ROWS, COLUMNS = np.mgrid[:1000, :1500]
PLATE = ((COLUMNS - 750) / 700) ** 2 + ((ROWS - 500) / 400) ** 2 < 1


def test_an_ellipse_has_few_corners_and_moves_by_less_than_half_a_pixel(tmp_path: Path) -> None:
    plate = make_segmentation({"plate": [PLATE]}, size_hw=PLATE.shape)
    write({"plate": plate}, tmp_path, format="labelme")
    ((shape),) = json.loads((tmp_path / "pictures" / "plate.json").read_text())["shapes"]
    assert len(shape["points"]) < 200
    x, y = np.array(shape["points"]).T
    circle = np.hypot((x - 750.5) / 700, (y - 500.5) / 400)
    assert np.abs(circle - 1).max() * 400 < 1
    moved = fill_rings([shape["points"]], PLATE.shape) ^ PLATE
    assert moved.sum() / 3500 < 0.25, "mean distance along the outline, pixels"


@pytest.mark.parametrize("name", POLYGON_FORMATS)
def test_no_tolerance_is_exact_and_the_default_keeps_holes_and_parts(name: str, tmp_path: Path) -> None:
    ring = disc(20, 30, 15) & ~disc(20, 30, 6) & ~disc(14, 30, 2)
    ring[0, 0] = True
    for tolerance, allowed in ((0, 0.0), (None, 0.1), (1.0, 0.2)):
        out = tmp_path / str(tolerance)
        write({"a": make_segmentation({"cat": [ring]})}, out, format=name, tolerance=tolerance)
        (mask,) = [instance.mask for _, instance in read(out).annotations[0].objects()]
        assert (mask ^ ring).sum() <= allowed * ring.sum()
        assert mask[0, 0] and not mask[30, 20]


def test_small_things_do_not_vanish() -> None:
    for size_hw in ((1, 1), (1, 7), (2, 2), (3, 1), (3, 3)):
        mask = np.pad(np.ones(size_hw, dtype=bool), 2)
        polygons = smooth_polygons(trace_polygons(mask), 0.5)
        np.testing.assert_array_equal(fill_rings([polygon.outer for polygon in polygons], mask.shape), mask)


def test_a_hole_of_one_pixel_stays() -> None:
    mask = np.pad(np.ones((3, 3), dtype=bool), 2)
    mask[3, 3] = False
    (polygon,) = smooth_polygons(trace_polygons(mask), 0.5)
    np.testing.assert_array_equal(fill_rings([polygon.outer, *polygon.holes], mask.shape), mask)


@pytest.mark.parametrize("radius", [2, 5, 10, 40])
def test_what_changes_is_a_small_share_however_small_the_object(radius: int) -> None:
    mask = disc(50, 50, radius, (100, 100))
    traced = trace_polygons(mask)
    (polygon,) = smooth_polygons(traced, 0.5)
    assert (fill_rings([polygon.outer], mask.shape) ^ mask).sum() <= 0.01 * mask.sum()
    assert len(polygon.outer) < len(traced[0].outer) or radius == 2


def test_the_corners_of_a_box_stay() -> None:
    mask = np.zeros((50, 60), dtype=bool)
    mask[5:40, 10:50] = True
    mask[4, 20:30] = True
    (polygon,) = smooth_polygons(trace_polygons(mask), 0.5)
    assert {(10, 5), (50, 5), (50, 40), (10, 40)} <= {tuple(corner) for corner in polygon.outer.tolist()}


@pytest.mark.parametrize("tolerance", [-1.0, float("nan"), float("inf")])
def test_a_tolerance_is_a_length(tolerance: float, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="a number of pixels from 0 on"):
        write({"a": make_segmentation({"cat": []})}, tmp_path, format="yolo", tolerance=tolerance)
