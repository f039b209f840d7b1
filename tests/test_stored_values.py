"""What the values of a mask mean: one reading where there is one, else a refusal that lists the values."""

import io
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from promptseg import read_mask
from promptseg.errors import ImageError
from promptseg.image_files import bundled_image
from promptseg.stored_values import MaskValue, find_inside, parse_mask_value

ROWS, COLUMNS = np.mgrid[:60, :90]
INSIDE = ((COLUMNS - 45) / 30) ** 2 + ((ROWS - 30) / 20) ** 2 < 1
WHITE = np.where(INSIDE, 255, 0).astype(np.uint8)


def paint(*values: tuple[NDArray[np.bool_], object], kind: type = np.uint8) -> NDArray[np.uint8]:
    """Paint areas with values, or with colors, on black."""
    channels = np.shape(values[0][1])
    painted = np.zeros((*INSIDE.shape, *channels), dtype=kind)
    for area, value in values:
        painted[area] = value
    return painted


TOP = ROWS < 8
BORDER = INSIDE ^ np.roll(INSIDE, 3, axis=0)


@pytest.mark.parametrize(
    "values",
    [
        pytest.param(INSIDE, id="bool"),
        *(pytest.param(paint((INSIDE, value)), id=f"0 and {value}") for value in (1, 2, 38, 127, 255)),
        *(pytest.param(paint((INSIDE, value), kind=np.uint16), id=f"16 bits, {value}") for value in (1, 300, 65535)),
        pytest.param(paint((INSIDE, 1.0), kind=np.float32), id="float"),
        pytest.param(paint((INSIDE, (128, 0, 0))), id="a dark color"),
        pytest.param(np.where(INSIDE, 200, 40).astype(np.uint8), id="gray on gray"),
        pytest.param(np.asarray(Image.fromarray(WHITE).filter(ImageFilter.GaussianBlur(1))), id="soft edges"),
        pytest.param(
            np.asarray(Image.fromarray(WHITE).filter(ImageFilter.GaussianBlur(1))).astype(np.uint16) * 257,
            id="soft edges, 16 bits",
        ),
    ],
)
def test_the_one_other_value_is_inside(values: NDArray[np.uint8]) -> None:
    np.testing.assert_array_equal(find_inside(values), INSIDE)


@pytest.mark.parametrize("quality", [30, 75, 95])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_the_noise_of_jpeg_is_no_class(quality: int, mode: str) -> None:
    file = io.BytesIO()
    Image.fromarray(WHITE).convert(mode).save(file, "JPEG", quality=quality)
    assert (read_mask(file.getvalue()) ^ INSIDE).mean() < 0.01


CLASSES = [
    pytest.param(paint((INSIDE, 1), (TOP, 2)), "0, 1, 2,", id="class numbers"),
    pytest.param(paint((INSIDE, 15), (BORDER, 255)), "0, 15, 255,", id="a class and an ignored border"),
    pytest.param(paint((INSIDE, 120), (TOP, 200)), "0, 120, 200,", id="classes beyond the middle"),
    pytest.param(paint((INSIDE, 255), (TOP, 128)), "0, 128, 255,", id="trimap"),
    pytest.param(paint((INSIDE, 1000), (TOP, 26001), kind=np.uint16), "0, 1000, 26001,", id="16-bit object numbers"),
    pytest.param(paint((INSIDE, (255, 0, 0)), (TOP, (0, 255, 0))), "(0, 255, 0), (255, 0, 0),", id="colors"),
    pytest.param(np.where(INSIDE, 2, 1).astype(np.uint8), "1, 2,", id="numbers from 1 on"),
    pytest.param(np.where(INSIDE[..., None], (255, 0, 0), 255).astype(np.uint8), "(255, 255, 255)", id="white behind"),
    pytest.param(np.tile(np.arange(90, dtype=np.uint8), (60, 1)), "0, 1, 2, 3", id="nothing bright"),
]


@pytest.mark.parametrize(("values", "listed"), CLASSES)
def test_several_readings_are_refused_and_listed(values: NDArray[np.uint8], listed: str) -> None:
    with pytest.raises(ValueError, match="mask_value") as caught:
        find_inside(values)
    assert listed in str(caught.value)


@pytest.mark.parametrize(
    ("values", "mask_value", "inside"),
    [
        (paint((INSIDE, 1), (TOP, 2)), 1, INSIDE),
        (paint((INSIDE, 1), (TOP, 2)), 9, np.zeros_like(INSIDE)),
        (paint((INSIDE, 1), (TOP, 2)), "nonzero", INSIDE | TOP),
        (paint((INSIDE, (255, 0, 0)), (TOP, (0, 255, 0))), (255, 0, 0), INSIDE),
        (paint((INSIDE, 7), (TOP, 2)), (7, 7, 7), INSIDE),
    ],
)
def test_a_caller_says_what_is_inside(
    values: NDArray[np.uint8], mask_value: MaskValue, inside: NDArray[np.bool_]
) -> None:
    np.testing.assert_array_equal(find_inside(values, mask_value), inside)


def test_a_number_does_not_choose_a_color() -> None:
    with pytest.raises(ValueError, match=r"a mask of colors.*\(255, 0, 0\)"):
        find_inside(paint((INSIDE, (255, 0, 0))), 1)


def png(values: NDArray[np.uint8], palette: list[int]) -> bytes:
    image = Image.fromarray(values, mode="P")
    image.putpalette(palette)
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def test_palettes_mean_their_indexes_or_where_black_is_elsewhere_their_colors() -> None:
    red_is_3 = png(paint((INSIDE, 3)), [0, 0, 0, 0, 0, 9, 0, 9, 0, 255, 0, 0])
    np.testing.assert_array_equal(read_mask(red_is_3), INSIDE)
    black_is_1 = png((~INSIDE).astype(np.uint8), [255, 255, 255, 0, 0, 0])
    np.testing.assert_array_equal(read_mask(black_is_1), INSIDE)
    classes = png(paint((INSIDE, 1), (TOP, 2)), [0, 0, 0, 128, 0, 0, 0, 128, 0])
    with pytest.raises(ImageError, match=r"values \(0, 0, 0\)|values 0, 1, 2"):
        read_mask(classes)
    np.testing.assert_array_equal(read_mask(classes, mask_value=2), TOP)
    np.testing.assert_array_equal(read_mask(classes, mask_value=(0, 128, 0)), TOP)


def test_what_people_write_is_a_value_a_color_or_all() -> None:
    assert [parse_mask_value(text) for text in ("2", "255, 0,0", "nonzero")] == [2, (255, 0, 0), "nonzero"]
    for text in ("", "-1", "1,2", "red"):
        with pytest.raises(ValueError, match="is no mask value"):
            parse_mask_value(text)


def test_a_photograph_is_no_mask(tmp_path: Path) -> None:
    with pytest.raises(
        ImageError, match=r"chelsea\.jpg: [\d,]+ colors, as a photograph has; give the file of its mask"
    ):
        read_mask(bundled_image("chelsea"))
    drawn = np.zeros((120, 160, 3), dtype=np.uint8)
    drawn[30:90, 40:120] = (255, 0, 0)
    Image.fromarray(drawn).save(tmp_path / "mask.jpg", quality=50)  # its edges have many colors
    assert abs(int(read_mask(tmp_path / "mask.jpg").sum()) - 4_800) < 300
