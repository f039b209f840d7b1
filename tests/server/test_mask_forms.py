"""Masks at a smaller size: half of a pixel's area decides, and nothing vanishes."""

import numpy as np
import pytest
from numpy.typing import NDArray

from promptseg.errors import OutsideImageError
from promptseg.ops.resize import area_shares, resize_map
from promptseg.results import Instance, QueryResult
from promptseg.server.wire.mask_forms import shrink_instance, shrunk_size
from promptseg.server.wire.read_queries import stretch_mask
from promptseg.server.wire.write_answer import shrink_result, write_results


def ellipse(size_hw: tuple[int, int], center_xy: tuple[float, float], radius: float) -> NDArray[np.bool_]:
    y, x = np.indices(size_hw) + 0.5
    return np.hypot(x - center_xy[0], (y - center_xy[1]) * 1.5) < radius


@pytest.mark.parametrize("small_hw", [(60, 80), (37, 49), (5, 7), (120, 159)])
@pytest.mark.parametrize("center_xy", [(80.0, 60.0), (3.0, 118.0), (150.0, 20.0)])
def test_shrinking_an_object_equals_shrinking_its_image(
    small_hw: tuple[int, int], center_xy: tuple[float, float]
) -> None:
    mask = ellipse((120, 160), center_xy, 35)
    small = shrink_instance(Instance.from_mask(mask, 0.7, 0.9), small_hw)
    assert small.mask.shape == small_hw and (small.score, small.mask_quality) == (0.7, 0.9)
    y, x = (np.arange(steps + 1) * full / steps for steps, full in zip(small_hw, mask.shape, strict=True))
    sums = np.zeros((121, 161))
    sums[1:, 1:] = mask.cumsum(0).cumsum(1)

    def integral(at_y: float, at_x: float) -> float:
        """Area of the mask above and left of a point, pixels."""
        row, column = min(int(at_y), 119), min(int(at_x), 159)
        down, right = at_y - row, at_x - column
        top = sums[row, column] * (1 - right) + sums[row, column + 1] * right
        bottom = sums[row + 1, column] * (1 - right) + sums[row + 1, column + 1] * right
        return float(top * (1 - down) + bottom * down)

    corners = np.array([[integral(each_y, each_x) for each_x in x] for each_y in y])
    shares = np.diff(np.diff(corners, axis=0), axis=1) / (y[1] * x[1])
    clear = np.abs(shares - 0.5) > 0.01
    np.testing.assert_array_equal(small.mask[clear], (shares >= 0.5)[clear])


@pytest.mark.parametrize("x", [0, 63, 399])
def test_a_single_pixel_does_not_vanish(x: int) -> None:
    mask = np.zeros((300, 400), dtype=np.bool_)
    mask[299, x] = True
    small = shrink_instance(Instance.from_mask(mask, 1.0), (30, 40))
    assert small.area == 1 and small.mask[29, x // 10]


def test_an_empty_mask_stays_empty() -> None:
    small = shrink_instance(Instance.from_mask(np.zeros((30, 40), dtype=np.bool_), 0.0), (3, 4))
    assert small.mask.shape == (3, 4) and not small.mask.any() and small.to_rle()["size"] == [3, 4]


def test_the_size_keeps_the_shape_and_never_grows() -> None:
    assert shrunk_size((3000, 4000), 1600) == (1200, 1600)
    assert shrunk_size((300, 451), None) == shrunk_size((300, 451), 9999) == (300, 451)
    assert shrunk_size((1, 5000), 100) == (1, 100)


def test_stretching_takes_the_value_at_the_center() -> None:
    mask = np.array([[True, False], [False, False]])
    np.testing.assert_array_equal(stretch_mask(mask, (4, 4)), area_shares(mask, (4, 4)) > 0)
    with pytest.raises(OutsideImageError, match=r"a mask of 20 x 20 pixels \(H x W\) for an image of 40 x 80"):
        stretch_mask(np.ones((20, 20), dtype=np.bool_), (40, 80))


def test_a_mask_at_display_size_fits_its_image_whatever_was_rounded() -> None:
    for size_hw in ((301, 451), (4000, 3001), (17, 4999)):
        for long_side in (100, 333, 1600):
            small = shrunk_size(size_hw, long_side)
            assert stretch_mask(np.ones(small, dtype=np.bool_), size_hw).all()


def test_a_result_of_a_map_is_cut_from_the_map_at_the_smaller_size() -> None:
    y, x = np.indices((40, 60), dtype=np.float32)
    logits = 12 - np.hypot(x - 20, y - 20)
    result = QueryResult("disk", 0.9, logits.astype(np.float32), (3000, 4500), 0.5, 0.5)
    small = shrink_result(result, (1000, 1500))
    assert (small.label, small.presence, small.status) == ("disk", 0.9, "present")
    np.testing.assert_array_equal(small.mask, resize_map(result.mask_logits, (1000, 1500)) >= 0)
    assert shrink_result(result, (3000, 4500)) is result
    (full,) = write_results([result], None, (3000, 4500))
    (shrunk,) = write_results([result], None, (1000, 1500))
    assert full.area == result.area and shrunk.area == pytest.approx(full.area, rel=0.001)
    assert full.instances and shrunk.instances
    assert shrunk.instances[0].box_xyxy == pytest.approx(full.instances[0].box_xyxy, abs=3)


def test_a_box_of_a_smaller_size_holds_the_object() -> None:
    mask = np.zeros((301, 403), dtype=np.bool_)
    mask[37:290, 101:402] = True
    instances = (Instance.from_mask(mask, 0.8, 0.7),)
    result = QueryResult("box", 0.8, np.zeros((3, 4), dtype=np.float32), (301, 403), 0.5, 0.5, instances)
    (written,) = write_results([result], None, (75, 100))
    assert written.instances is not None
    (one,) = written.instances
    left, top, right, bottom = one.box_xyxy
    assert (left, top, right, bottom) == pytest.approx((101, 37, 402, 290), abs=5)
    assert right <= 403 and bottom <= 301 and (one.score, one.mask_quality) == (0.8, 0.7)
