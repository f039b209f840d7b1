"""Run lengths, components, resizing and whole-or-nothing files."""

from pathlib import Path

import numpy as np
import pytest

from promptseg.errors import OutputError
from promptseg.ops.atomic import atomic_file
from promptseg.ops.masks import iterate_components
from promptseg.ops.pixels import normalize_pixels
from promptseg.ops.resize import resize_map, sigmoid
from promptseg.ops.rle import decode_rle, encode_rle


@pytest.mark.parametrize("size_hw", [(1, 1), (5, 7), (64, 48)])
def test_rle_round_trip(size_hw: tuple[int, int]) -> None:
    for share in (0.0, 0.3, 1.0):
        mask = np.random.default_rng(0).random(size_hw) < share
        encoded = encode_rle(mask)
        assert encoded["size"] == list(size_hw)
        np.testing.assert_array_equal(decode_rle(encoded), mask)


@pytest.mark.parametrize("counts", ["0", "3", "0gb0", "0hb", "0hb011", "11", "0hb0\n", "o" * 40])
def test_a_code_of_another_number_of_pixels_is_refused(counts: str) -> None:
    assert encode_rle(np.ones((20, 30), dtype=bool))["counts"] == "0hb0"
    with pytest.raises(ValueError, match=r"a run-length code|Invalid RLE"):
        decode_rle({"size": [20, 30], "counts": counts})


def test_rle_is_cocos_column_major_text() -> None:
    mask = np.zeros((3, 2), dtype=bool)
    mask[0, 1] = True  # column-major: 3 off, 1 on, 2 off
    assert encode_rle(mask) == {"size": [3, 2], "counts": "312"}


def test_components_put_the_mask_together_again() -> None:
    mask = np.random.default_rng(1).random((40, 50)) < 0.3
    whole = np.zeros_like(mask)
    for window, pixels in iterate_components(mask, min_share=0.0):
        assert pixels.any(axis=0).all()  # the window is tight, objects hold together
        whole[window] |= pixels
    np.testing.assert_array_equal(whole, mask)
    assert list(iterate_components(np.zeros((3, 3), dtype=bool), min_share=0.0)) == []


def test_components_always_keep_the_largest() -> None:
    mask = np.zeros((9, 9), dtype=bool)
    mask[0, 0] = mask[4:6, 4:6] = True
    assert len(list(iterate_components(mask, min_share=1.0))) == 1


def test_resize_keeps_constants_and_means() -> None:
    np.testing.assert_allclose(resize_map(np.full((3, 4), 2.5, dtype=np.float32), (50, 1)), 2.5)
    values = np.random.default_rng(0).normal(size=(64, 64)).astype(np.float32)
    assert resize_map(values, (1, 1)).item() == pytest.approx(values.mean(), abs=0.1)


def test_sigmoid_does_not_overflow() -> None:
    np.testing.assert_allclose(sigmoid(np.array([-1e4, 0.0, 1e4], dtype=np.float32)), [0.0, 0.5, 1.0])


def test_atomic_file_is_whole_or_not_there(tmp_path: Path) -> None:
    target = tmp_path / "new" / "result.txt"
    with atomic_file(target) as path:
        path.write_text("first")
        assert not target.exists()
    with pytest.raises(KeyError), atomic_file(target) as path:
        path.write_text("half")
        raise KeyError
    assert target.read_text() == "first"
    assert list(target.parent.iterdir()) == [target]


def test_atomic_file_names_what_it_could_not_write(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"x\.txt: can't be written"), atomic_file(tmp_path / "file" / "x.txt"):
        pass
    with pytest.raises(OutputError, match="No space left"), atomic_file(tmp_path / "y.txt"):
        raise OSError(28, "No space left on device")


def test_normalize_puts_channels_first_and_zeros_around() -> None:
    image_rgb = np.random.default_rng(0).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    mean, std = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
    found = normalize_pixels(image_rgb, mean, std, canvas_hw=(6, 5))
    expected = ((image_rgb - np.array(mean)) / np.array(std)).transpose(2, 0, 1)
    np.testing.assert_allclose(found[0, :, :4], expected, atol=1e-6)
    assert found.shape == (1, 3, 6, 5) and found.dtype == np.float32
    assert not found[0, :, 4:].any()
    np.testing.assert_array_equal(normalize_pixels(image_rgb, mean, std), found[:, :, :4])
