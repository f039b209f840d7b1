"""Look in a region for every object, for a panoptic map, and for candidates: as in an image of its own."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from color_world import COLORS, ColorMasker, ColorSegmenter, image
from command_line import Ended
from numpy.typing import NDArray
from painted_world import Painted
from PIL import Image

import promptseg
from promptseg import BoxPrompt, PointPrompt, Predictor
from promptseg.errors import OutsideImageError
from promptseg.ops.rle import decode_rle
from promptseg.sam.automatic import AutomaticSettings

SIZE_HW = (160, 200)
SHAPES = [((20, 20, 80, 60), "red"), ((100, 20, 180, 100), "red"), ((20, 120, 180, 150), "blue")]
IMAGE = image(*SHAPES, size_hw=SIZE_HW)
# holds the second red shape, and half of the blue one
BOX = (90, 10, 200, 160)
SETTINGS = AutomaticSettings(points_per_side=8, pred_iou_thresh=0.9, stability_score_thresh=0.0)


def box_mask(box: tuple[int, int, int, int] = BOX) -> NDArray[np.bool_]:
    left, top, right, bottom = box
    mask = np.zeros(SIZE_HW, dtype=np.bool_)
    mask[top:bottom, left:right] = True
    return mask


@pytest.fixture(scope="module")
def colors() -> Predictor:
    """Knows the three colors."""
    tiny = promptseg.load("promptseg-test-dense", device="cpu", engine="torch")
    return replace(tiny, segmenter=ColorSegmenter(), presence_threshold=0.5)


@pytest.fixture
def painted() -> Predictor:
    return Predictor("painted", Painted(), 0.5, "torch", "0" * 16)


def test_every_object_of_a_region_is_found_and_placed(colors: Predictor) -> None:
    found = colors.segment_everything(IMAGE, COLORS, sam=ColorMasker(), settings=SETTINGS, within=BOX)
    assert found.image_rgb.shape == IMAGE.shape
    assert {each.label: sorted(one.box_xyxy for one in each.instances) for each in found} == {
        "red": [(100, 20, 180, 100)],
        "green": [],
        "blue": [(90, 120, 180, 150)],
        "unnamed": [BOX],
    }
    for each in found:
        assert each.size_hw == SIZE_HW and not (each.mask & ~box_mask()).any()


def test_a_mask_cuts_objects_off_and_drops_those_outside(colors: Predictor) -> None:
    region = box_mask() & ~box_mask((100, 10, 200, 110))  # without the red shape
    region[120:, 150:] = False  # and without the end of the blue one
    found = colors.segment_everything(IMAGE, COLORS, sam=ColorMasker(), settings=SETTINGS, within=region)
    assert not (found["unnamed"].mask & ~region).any()
    assert found["red"].instances == () and not found["red"].is_present
    assert [each.box_xyxy for each in found["blue"].instances] == [(90, 120, 150, 150)]


def test_a_map_has_segments_in_a_region_only(painted: Predictor) -> None:
    photo = np.full((100, 400, 3), 90, np.uint8)
    names = ["square [stuff]", "squares [thing]", "background"]
    alone = painted.panoptic(photo[:, 30:330], names)
    found = painted.panoptic(photo, names, within=BoxPrompt((30, 0, 330, 100)))
    np.testing.assert_array_equal(found.segment_ids[:, 30:330], alone.segment_ids)
    assert not found.segment_ids[:, :30].any() and not found.segment_ids[:, 330:].any()
    assert [one.area for one in found.segments] == [one.area for one in alone.segments]
    assert found.presence == alone.presence and alone.within is None
    for moved, one in zip(found.segments, alone.segments, strict=True):
        np.testing.assert_array_equal(np.subtract(moved.box_xyxy, (30, 0, 30, 0)), one.box_xyxy)
    assert found.within is not None and decode_rle(found.within).sum() == 300 * 100
    assert found.to_dict()["within"] == found.within


def test_what_a_mask_leaves_of_a_map_is_numbered_anew(painted: Predictor) -> None:
    photo = np.full((100, 400, 3), 90, np.uint8)
    names = ["square [stuff]", "squares [thing]"]
    whole = painted.panoptic(photo, names)
    hidden = whole.segments[1]
    region = whole.segment_ids != hidden.id
    found = painted.panoptic(photo, names, unlabelled="fill", within=region)
    assert not found.segment_ids[~region].any(), "not filled either"
    assert [one.id for one in found.segments] == [1, 2] and found.count("squares") == 1
    only_stuff = painted.panoptic(photo, names, within=whole.mask("square"))
    assert only_stuff.count("squares") == 0 and only_stuff.presence[1] == 0, "as in a region without any"


def test_candidates_are_those_of_the_region() -> None:
    model = promptseg.load("sam-test", threshold=0.0, engine="torch")
    alone = model.propose(np.ascontiguousarray(IMAGE[10:, 90:]), PointPrompt([(30, 50)]))
    placed = model.propose(model.encode(IMAGE), PointPrompt([(120, 60)]), within=BOX)
    assert len(placed) == len(alone) == 3
    for moved, one in zip(placed, alone, strict=True):
        np.testing.assert_array_equal(moved.mask[10:, 90:], one.mask)
        assert moved.mask.sum() == one.mask.sum() and moved.instances[0].mask_quality == one.instances[0].mask_quality
    with pytest.raises(OutsideImageError, match="outside the region"):
        model.propose(IMAGE, PointPrompt([(20, 30)]), within=BOX)


@pytest.mark.parametrize(
    ("command", "options"),
    [
        ("panoptic", ("--model", "promptseg-test", "--threshold", "0", "--unlabelled", "fill")),
        (
            "segment-everything",
            ("--masker", "sam-test", "--points-per-side", "4", "--min-score", "0", "--min-stability", "0"),
        ),
    ],
)
def test_commands_look_in_a_box_or_in_a_mask(
    promptseg: Callable[..., Ended], tmp_path: Path, command: str, options: tuple[str, ...]
) -> None:
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (*SIZE_HW, 3), dtype=np.uint8)).save(tmp_path / "a.png")
    Image.fromarray(box_mask().astype(np.uint8) * 2).save(tmp_path / "region.png")
    Image.new("RGB", (50, 50)).save(tmp_path / "small.png")
    request = (command, tmp_path / "a.png", *options, "--engine", "torch", "--out", tmp_path / "out", "--json")
    by_box = promptseg(*request, "--within", "90,10,200,160")
    by_mask = promptseg(*request, "--within", tmp_path / "region.png", "--mask-value", "2")
    assert (by_box.code, by_mask.code) == (0, 0), by_box.err + by_mask.err
    if command == "panoptic":
        assert "1 image done before" in by_mask.err, "the same region"
        assert "done before" not in promptseg(*request, "--within", "90,10,200,150").err
        assert "done before" not in promptseg(*request).err
        document = json.loads(by_box.out)
        assert sum(one["area"] for one in document["segments"]) == 110 * 150
    else:
        assert by_mask.out == by_box.out
        boxes = [one["box_xyxy"] for each in json.loads(by_box.out)["results"] for one in each["instances"]]
        assert boxes and all(box[0] >= 90 and box[1] >= 10 for box in boxes)
    outside = promptseg(*request, tmp_path / "small.png", "--within", "90,10,200,150")
    assert (
        outside.code == 1 and "small.png: within: the box" in outside.err and "outside the image, 50x50" in outside.err
    )
    assert promptseg(*request, "--mask-value", "2").code == 2, "there is no mask"
