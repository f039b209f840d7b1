"""Properties of masks, run-length codes, polygons and file formats, on masks that Hypothesis draws.

The examples are a function of the test, not of chance: each run draws the same ones.
"""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from formats_world import make_segmentation
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from pycocotools import mask as coco_mask

import promptseg
from promptseg.formats.brush_rle import decode_brush, encode_brush
from promptseg.formats.dataset import read
from promptseg.ops.polygons import (
    fill_rings,
    join_holes,
    join_parts,
    simplify_polygons,
    smooth_polygons,
    trace_polygons,
)
from promptseg.ops.rle import coco_rle, decode_rle, encode_rle, merge_rles, place_rle, rle_area

STEADY = settings(derandomize=True, max_examples=60, deadline=None, database=None)
FEW = settings(STEADY, max_examples=8)

masks = arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, max_side=17))
pairs = array_shapes(min_dims=2, max_dims=2, max_side=13).flatmap(
    lambda shape: st.tuples(arrays(np.bool_, shape), arrays(np.bool_, shape))
)
# Formats whose files keep every pixel of every object.
EXACT = ("coco", "labelme-masks", "labelstudio", "npz")
# Formats that keep the area of a class, with polygons that follow the pixels.
POLYGONS = ("coco-polygons", "labelme", "geojson", "labelstudio-polygons", "yolo")


@given(masks)
@STEADY
def test_a_run_length_code_is_the_mask(mask: np.ndarray) -> None:
    rle = encode_rle(mask)
    assert np.array_equal(decode_rle(rle), mask)
    assert rle_area(rle) == mask.sum()
    height, width = mask.shape
    assert coco_rle(rle, (height, width)) == rle
    runs = np.diff(np.flatnonzero(np.diff(mask.T.ravel(), prepend=False, append=not mask[-1, -1])), prepend=0)
    assert coco_rle({"size": [height, width], "counts": [int(run) for run in runs]}, (height, width)) == rle


@given(pairs)
@STEADY
def test_a_union_of_codes_is_the_code_of_the_union(pair: tuple[np.ndarray, np.ndarray]) -> None:
    first, second = pair
    assert merge_rles([encode_rle(first), encode_rle(second)]) == encode_rle(first | second)


@given(masks, st.integers(0, 5), st.integers(0, 5), st.integers(0, 5), st.integers(0, 5))
@STEADY
def test_the_code_of_a_box_is_placed_in_its_image(
    mask: np.ndarray, left: int, top: int, right: int, below: int
) -> None:
    image = np.pad(mask, ((top, below), (left, right)))
    height, width = mask.shape
    placed = place_rle(encode_rle(mask), (left, top, left + width, top + height), image.shape)
    assert placed == encode_rle(image)


@given(st.text(max_size=30), st.integers(1, 9), st.integers(1, 9))
@STEADY
def test_any_text_is_a_code_of_that_size_or_refused(counts: str, height: int, width: int) -> None:
    try:
        mask = decode_rle(coco_rle({"size": [height, width], "counts": counts}, (height, width)))
    except ValueError:
        return
    assert mask.shape == (height, width)


@given(st.lists(st.lists(st.floats() | st.integers(), max_size=12), max_size=4), st.integers(1, 30))
@STEADY
def test_any_numbers_are_polygons_in_the_image_or_refused(polygons: list[list[float]], side: int) -> None:
    try:
        rle = coco_rle(polygons, (side, side))
    except ValueError:
        return
    assert decode_rle(rle).shape == (side, side)


@given(masks)
@STEADY
def test_polygons_enclose_exactly_the_mask(mask: np.ndarray) -> None:
    polygons = trace_polygons(mask)
    rings = [ring for polygon in polygons for ring in (polygon.outer, *polygon.holes)]
    assert np.array_equal(fill_rings(rings, mask.shape), mask)
    assert np.array_equal(fill_rings([join_holes(polygon) for polygon in polygons], mask.shape), mask)
    if polygons:
        assert np.array_equal(fill_rings([join_parts(polygons)], mask.shape), mask)
        height, width = mask.shape
        flat = [join_holes(polygon).ravel().astype(float).tolist() for polygon in polygons]
        drawn = coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(flat, height, width)))
        assert np.array_equal(drawn.astype(bool), mask)


@given(masks, st.floats(0.0, 3.0))
@STEADY
def test_simpler_polygons_stay_polygons(mask: np.ndarray, tolerance: float) -> None:
    polygons = trace_polygons(mask)
    for simpler in (simplify_polygons(polygons, tolerance), smooth_polygons(polygons, tolerance)):
        assert len(simpler) == len(polygons)
        for before, after in zip(polygons, simpler, strict=True):
            assert len(after.outer) >= 3
            assert (after.outer.min(axis=0) >= before.outer.min(axis=0)).all()
            assert (after.outer.max(axis=0) <= before.outer.max(axis=0)).all()


@given(masks)
@STEADY
def test_brush_strokes_are_the_mask(mask: np.ndarray) -> None:
    assert np.array_equal(decode_brush(encode_brush(mask), mask.shape), mask)


@given(st.lists(st.integers(0, 255), max_size=60), st.integers(1, 9), st.integers(1, 9))
@STEADY
def test_any_bytes_are_brush_strokes_or_refused(data: list[int], height: int, width: int) -> None:
    try:
        mask = decode_brush(data, (height, width))
    except ValueError:
        return
    assert mask.shape == (height, width)


@pytest.mark.parametrize("name", EXACT)
@given(pairs.filter(lambda pair: pair[0].any() and pair[1].any()))
@FEW
def test_formats_keep_every_object(name: str, pair: tuple[np.ndarray, np.ndarray]) -> None:
    found = write_and_read(name, pair)
    objects = [instance.mask for _, instance in found.objects()]
    assert len(objects) == 2
    assert all(np.array_equal(*both) for both in zip(objects, pair, strict=True))


@pytest.mark.parametrize("name", POLYGONS)
@given(pairs.filter(lambda pair: pair[0].any() and pair[1].any()))
@FEW
def test_polygons_in_files_keep_every_pixel_of_a_class(name: str, pair: tuple[np.ndarray, np.ndarray]) -> None:
    found = write_and_read(name, pair, tolerance=0.0)
    areas = {region.label: region.area.mask for region in found.regions}
    assert np.array_equal(areas["first"], pair[0]) and np.array_equal(areas["second"], pair[1])


@pytest.mark.parametrize("name", ["png", "voc", "coco-panoptic"])
@given(masks.filter(lambda mask: bool(mask.any())))
@FEW
def test_formats_of_one_value_a_pixel_keep_what_does_not_overlap(name: str, mask: np.ndarray) -> None:
    pair = (mask, ~mask) if not mask.all() else (mask, None)
    found = write_and_read(name, pair)
    areas = {region.label: region.area.mask for region in found.regions}
    assert np.array_equal(areas["first"], mask)
    assert ("second" in areas) == (not mask.all())


def write_and_read(name: str, pair: tuple[np.ndarray, np.ndarray | None], *, tolerance: float | None = None):
    """Write an image of two classes with an object each, and read its annotation."""
    first, second = pair
    result = make_segmentation({"first": [first], "second": [] if second is None else [second]}, size_hw=first.shape)
    with TemporaryDirectory() as folder:
        out = promptseg.write({"a.png": result}, Path(folder) / "set", format=name, tolerance=tolerance)
        (annotation,) = read(out, format=name).annotations
    return annotation
