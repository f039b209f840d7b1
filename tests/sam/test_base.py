"""Frames, embeddings and outputs: maps between image and canvas, arrays there and back."""

import numpy as np
import pytest
from numpy.typing import NDArray

from promptseg.errors import DataError
from promptseg.ops.masks import mask_iou
from promptseg.sam.base import OUTSIDE_LOGIT, Frame, SamEmbedding, SamOutput


def literal_resample(values: NDArray[np.float32], num_out: int, step: float) -> NDArray[np.float64]:
    """Resample the first axis as the definition says, weight by weight."""
    reach, num_in = max(step, 1.0), len(values)
    rows = []
    for index in range(num_out):
        center = min(max((index + 0.5) * step, 0.5), num_in - 0.5)
        weights = np.array([max(0.0, 1 - abs(center - cell - 0.5) / reach) for cell in range(num_in)])
        rows.append((weights / weights.sum()) @ values)
    return np.array(rows)


class TestFrame:
    def test_a_map_goes_to_the_canvas_and_back(self) -> None:
        frame = Frame((60, 100), (128, 128), (1.28, 1.28))
        ramp = np.tile(np.linspace(-3, 3, 100, dtype=np.float32), (1, 60, 1))
        there = frame.maps_to_canvas(ramp, (32, 32))
        back = frame.maps_to_image(there)
        np.testing.assert_allclose(back[0, 5:50, 5:-5], ramp[0, 5:50, 5:-5], atol=0.02)
        assert (there[0, 20:] == OUTSIDE_LOGIT).all()

    def test_maps_keep_their_place(self) -> None:
        y, x = np.mgrid[:60, :100] + 0.5
        mask = (x - 70) ** 2 + (y - 20) ** 2 < 12**2
        frame = Frame((60, 100), (128, 128), (1.28, 1.28))
        back = frame.maps_to_image(frame.maps_to_canvas(mask[None].astype(np.float32) - 0.5, (32, 32)))[0] > 0
        assert mask_iou(back, mask) > 0.9

    def test_other_resolutions_cover_the_same_image(self) -> None:
        frame = Frame((60, 100), (96, 128), (1.28, 1.28))
        ramp = np.tile(np.arange(32, dtype=np.float32), (1, 24, 1))
        full, half = frame.maps_to_image(ramp), frame.maps_to_image(ramp, (30, 50))
        assert (full.shape, half.shape) == ((1, 60, 100), (1, 30, 50))
        np.testing.assert_allclose(full.reshape(30, 2, 50, 2).mean((1, 3)), half[0], atol=0.2)

    @pytest.mark.parametrize("size_hw", [(60, 100), (7, 200), (1, 1), (23, 5)])
    def test_resampling_is_the_literal_one(self, size_hw: tuple[int, int]) -> None:
        frame = Frame((60, 100), (96, 128), (1.28, 1.28))
        maps = np.random.default_rng(0).normal(size=(2, 3, 24, 32)).astype(np.float32)
        height, width = size_hw
        # 60 rows of the image are 60 * 1.28 of 96 pixels of the canvas, whose map has 24 rows
        step_y, step_x = 60 * 1.28 / 4 / height, 100 * 1.28 / 4 / width
        found = frame.maps_to_image(maps, size_hw)
        for index in np.ndindex(2, 3):
            expected = literal_resample(literal_resample(maps[index], height, step_y).T, width, step_x).T
            np.testing.assert_allclose(found[index], expected, atol=1e-5)

    def test_no_maps_stay_no_maps(self) -> None:
        frame = Frame((60, 100), (96, 128), (1.28, 1.28))
        assert frame.maps_to_image(np.zeros((0, 24, 32), np.float32)).shape == (0, 60, 100)


class TestSamEmbedding:
    EMBEDDING = SamEmbedding(
        (np.arange(6, dtype=np.float32).reshape(1, 6, 1, 1), np.ones((1, 2, 2, 2), np.float32)),
        Frame((60, 101), (96, 128), (1.28, 1.27)),
    )

    def test_there_and_back_among_other_arrays(self) -> None:
        arrays = {"other": np.zeros(3), **self.EMBEDDING.to_arrays()}
        again = SamEmbedding.from_arrays(arrays)
        assert again.frame == self.EMBEDDING.frame
        assert again.size_hw == (60, 101)
        assert len(again.features) == 2
        for found, expected in zip(again.features, self.EMBEDDING.features, strict=True):
            np.testing.assert_array_equal(found, expected)

    def test_half_precision_takes_half_the_memory(self) -> None:
        half = self.EMBEDDING.in_half_precision()
        assert [each.nbytes for each in half.features] == [12, 16]
        assert half.frame == self.EMBEDDING.frame

    @pytest.mark.parametrize("missing", ["sam.frame", "sam.0"])
    def test_a_missing_array_is_named(self, missing: str) -> None:
        arrays = self.EMBEDDING.to_arrays()
        del arrays[missing]
        with pytest.raises(DataError, match=f"{missing} is missing; encode the image again"):
            SamEmbedding.from_arrays(arrays)


def test_the_best_candidate_of_each_prompt_is_kept() -> None:
    logits = np.arange(2 * 3 * 4, dtype=np.float32).reshape(2, 3, 2, 2)
    scores = np.array([[0.1, 0.9, 0.3], [0.8, 0.2, 0.3]], np.float32)
    best = SamOutput(logits, scores, Frame((8, 8), (8, 8), (1.0, 1.0))).best()
    assert best.scores[:, 0].tolist() == pytest.approx([0.9, 0.8])
    np.testing.assert_array_equal(best.mask_logits[:, 0], logits[[0, 1], [1, 0]])
