"""Masks at a smaller size: half of a pixel's area decides, and nothing vanishes."""

import numpy as np
import pytest
from numpy.typing import NDArray

from promptseg.errors import OutsideImageError
from promptseg.ops.resize import area_shares
from promptseg.results import Instance
from promptseg.server.wire.mask_forms import shrink_instance, shrunk_size
from promptseg.server.wire.read_queries import stretch_mask


def ellipse(size_hw: tuple[int, int], center_xy: tuple[float, float], radius: float) -> NDArray[np.bool_]:
    y, x = np.indices(size_hw) + 0.5
    return np.hypot(x - center_xy[0], (y - center_xy[1]) * 1.5) < radius


@pytest.mark.parametrize("small_hw", [(60, 80), (37, 49), (5, 7), (120, 159)])
@pytest.mark.parametrize("center_xy", [(80.0, 60.0), (3.0, 118.0), (150.0, 20.0)])
def test_shrinking_an_object_equals_shrinking_its_picture(
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
    with pytest.raises(OutsideImageError, match=r"a mask of 20 x 20 pixels \(H x W\) for a picture of 40 x 80"):
        stretch_mask(np.ones((20, 20), dtype=np.bool_), (40, 80))


def test_a_mask_at_display_size_fits_its_picture_whatever_was_rounded() -> None:
    for size_hw in ((301, 451), (4000, 3001), (17, 4999)):
        for long_side in (100, 333, 1600):
            small = shrunk_size(size_hw, long_side)
            assert stretch_mask(np.ones(small, dtype=np.bool_), size_hw).all()
