"""Oracle IoU of points and boxes: a segmenter that knows its objects, a slow literal definition, bad requests."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from drawn_masker import SIZE_HW, DrawnMasker, rectangle
from numpy.typing import NDArray
from PIL import Image

import promptseg
from promptseg.data.sample import Sample, Target
from promptseg.errors import DataError
from promptseg.evaluate.benchmarks.promptable import (
    ObjectScore,
    PromptableSettings,
    mask_ious,
    score_objects,
    summarize,
)
from promptseg.ops.rle import encode_rle

LARGE, SMALL = rectangle(8, 8, 72, 72), rectangle(80, 20, 120, 60)


@pytest.fixture
def sample(tmp_path: Path) -> Sample:
    path = tmp_path / "image.png"
    Image.new("RGB", SIZE_HW[::-1], (90, 120, 60)).save(path)
    masks = tuple(encode_rle(mask) for mask in (SMALL, LARGE))
    return Sample("image", path, SIZE_HW, (Target("object", masks=masks),))


def test_a_segmenter_that_knows_its_objects_is_right_about_all(sample: Sample) -> None:
    scores = list(score_objects(DrawnMasker([LARGE, SMALL]), [sample], PromptableSettings(points_per_side=4)))
    assert len(scores) == 2
    for score in scores:
        assert score.ious.keys() == {"point", "point_oracle", "grid_oracle", "box", "box_oracle"}
        assert min(score.ious.values()) > 0.95
    means = summarize(scores)
    assert means["point"].mean == pytest.approx(np.mean([score.ious["point"] for score in scores]))
    assert np.isnan(means["point"].low), "one image says nothing about others"


def test_the_oracle_is_not_the_models_own_choice(sample: Sample) -> None:
    # it knows one object only, and answers to a point on the other with a square, or everything
    (large, small) = score_objects(DrawnMasker([LARGE]), [sample], PromptableSettings(points_per_side=4))
    assert large.ious["point"] > 0.95
    assert small.ious["point"] <= small.ious["point_oracle"] <= small.ious["grid_oracle"] < 0.95


def test_the_grid_is_an_option_and_objects_are_chosen_by_size(sample: Sample) -> None:
    sam = DrawnMasker([LARGE, SMALL])
    (score,) = score_objects(sam, [sample], PromptableSettings(points_per_side=None, max_objects=1))
    assert "grid_oracle" not in score.ious and score.ious["box"] > 0.95
    (only,) = score_objects(sam, [sample], PromptableSettings(None, min_pixels=int(SMALL.sum()) + 1))
    assert only.ious["box"] > 0.95
    assert not list(score_objects(sam, [sample], PromptableSettings(None, min_pixels=10**6)))


def literal_iou(mask: NDArray[np.bool_], truth: NDArray[np.bool_], unknown: NDArray[np.bool_]) -> float:
    shared = joined = 0
    for predicted, true, ignored in zip(mask.ravel(), truth.ravel(), unknown.ravel(), strict=True):
        if not ignored:
            shared += bool(predicted and true)
            joined += bool(predicted or true)
    return shared / joined


def test_objects_of_other_kinds_are_left_out(sample: Sample) -> None:
    stuff = replace(sample.targets[0], phrase="wall", kind="stuff", masks=(encode_rle(rectangle(0, 0, 90, 90)),))
    both = replace(sample, targets=(*sample.targets, stuff))
    sam = DrawnMasker([LARGE, SMALL])
    assert len(list(score_objects(sam, [both], PromptableSettings(None)))) == 3
    assert len(list(score_objects(sam, [both], PromptableSettings(None, kinds=("thing",))))) == 2
    assert len(list(score_objects(sam, [both], PromptableSettings(None, kinds=("stuff", "part"))))) == 1


def test_iou_is_the_literal_one() -> None:
    rng = np.random.default_rng(0)
    masks, objects, unknown = (rng.random((count, 6, 7)) < 0.4 for count in (5, 3, 3))
    unknown &= ~objects
    ious = mask_ious(masks, objects, unknown)
    for m in range(5):
        for n in range(3):
            assert ious[m, n] == pytest.approx(literal_iou(masks[m], objects[n], unknown[n]))


def test_intervals_draw_whole_images() -> None:
    scores = [ObjectScore(f"image{index // 4}", {"point": (index // 4) / 4}) for index in range(20)]
    mean = summarize(scores)["point"]
    assert mean.mean == pytest.approx(0.5) and mean.low < 0.5 < mean.high
    assert summarize(scores)["point"] == mean, "the same seed, the same interval"
    alike = [ObjectScore(f"image{index}", {"point": (index // 4) / 4}) for index in range(20)]
    independent = summarize(alike)["point"]
    assert independent.high - independent.low < mean.high - mean.low


def test_uniovseg_and_sam_are_measured_alike(sample: Sample) -> None:
    for name in ("uniovseg-test", "sam-test"):
        sam = promptseg.load(name, engine="torch").automatic_sam.get()
        scores = list(score_objects(sam, [sample], PromptableSettings(points_per_side=3)))
        for score in scores:
            assert score.ious["point"] <= score.ious["point_oracle"]
            assert score.ious["box"] <= score.ious["box_oracle"] or name == "sam-test"
            assert all(0 <= iou <= 1 for iou in score.ious.values())


@pytest.mark.parametrize("name", ["points_per_side", "max_objects", "min_pixels"])
def test_numbers_out_of_range_are_refused(name: str) -> None:
    with pytest.raises(DataError, match=f"{name} must be 1 or more, got 0"):
        PromptableSettings(**{name: 0})  # type: ignore[arg-type]


def test_no_objects_are_an_error() -> None:
    with pytest.raises(DataError, match="no image has an object with a mask"):
        summarize([])
