"""Results: masks at the photo's size, objects, files and JSON."""

import dataclasses
import json
import math
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from promptseg.errors import MissingExtraError, OutputError
from promptseg.ops.rle import decode_rle, encode_rle
from promptseg.results import Instance, QueryResult, Segmentation

SIZE_HW = (60, 90)


def make_result(
    mask_logits: np.ndarray, *, label: str = "cat", presence: float = 0.9, size_hw: tuple[int, int] = SIZE_HW
) -> QueryResult:
    return QueryResult(label, presence, mask_logits.astype(np.float32), size_hw, 0.5, 0.5)


def two_squares() -> np.ndarray:
    """Logits of a large sure square, a small unsure one, and a crumb; at the photo's own size."""
    logits = np.full(SIZE_HW, -6.0)
    logits[5:45, 5:45] = 4.0
    logits[10:20, 60:75] = 1.0
    logits[55:57, 80:82] = 6.0
    return logits


def segmentation(*results: QueryResult) -> Segmentation:
    image_rgb = np.full((*results[0].size_hw, 3), 128, dtype=np.uint8)
    return Segmentation(image_rgb, results, "promptseg-test", 0.5, 0.5)


def test_mask_has_the_size_of_the_photo() -> None:
    result = make_result(np.full((4, 5), 3.0))
    assert result.mask.shape == result.probability.shape == SIZE_HW
    assert result.mask.dtype == np.bool_
    assert result.probability.dtype == np.float32
    assert result.mask.all()


def test_probability_is_torchs_bilinear_upsampling() -> None:
    torch = pytest.importorskip("torch")
    logits = np.random.default_rng(0).normal(size=(7, 9)).astype(np.float32)
    expected = torch.nn.functional.interpolate(torch.from_numpy(logits)[None, None], size=SIZE_HW, mode="bilinear")
    np.testing.assert_allclose(make_result(logits).probability, expected[0, 0].sigmoid().numpy(), atol=1e-5)


def test_mask_is_the_probability_cut_at_its_threshold() -> None:
    logits = np.random.default_rng(0).normal(size=(7, 9)).astype(np.float32)
    for threshold in (0.2, 0.5, 0.8):
        result = dataclasses.replace(make_result(logits), mask_threshold=threshold)
        np.testing.assert_array_equal(result.mask, result.probability >= threshold)


def test_absent_thing_has_no_mask_but_a_probability() -> None:
    result = make_result(two_squares(), presence=0.49)
    assert not result.is_present
    assert not result.mask.any()
    assert result.instances == ()
    assert result.probability.max() > 0.9


def test_instances_are_connected_objects_without_crumbs() -> None:
    large, small = make_result(two_squares(), presence=0.8).instances
    assert large.box_xyxy == (5, 5, 45, 45)
    assert small.box_xyxy == (60, 10, 75, 20)
    assert math.isclose(large.score, 0.8 / (1 + math.exp(-4.0)), rel_tol=1e-5)
    assert math.isclose(small.score, 0.8 / (1 + math.exp(-1.0)), rel_tol=1e-5)
    assert large.mask.shape == SIZE_HW
    assert large.mask.sum() == 1600
    assert not (large.mask & small.mask).any()


def test_instances_hold_together_across_a_corner() -> None:
    (diagonal,) = make_result(np.where(np.eye(8) > 0, 5.0, -5.0), size_hw=(8, 8)).instances
    assert diagonal.mask.sum() == 8


def disc(center_xy: tuple[float, float], radius: float, size_hw: tuple[int, int] = SIZE_HW) -> np.ndarray:
    y, x = np.ogrid[: size_hw[0], : size_hw[1]]
    return np.asarray((x - center_xy[0]) ** 2 + (y - center_xy[1]) ** 2 < radius**2)


@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 1.0])
@pytest.mark.parametrize("size_hw", [(1, 1), (1, 9), (9, 1), (13, 8)])
def test_an_instance_holds_exactly_its_mask(size_hw: tuple[int, int], share: float) -> None:
    for seed in range(10):
        mask = np.random.default_rng(seed).random(size_hw) < share
        instance = Instance.from_mask(mask, 0.5)
        left, top, right, bottom = instance.box_xyxy
        np.testing.assert_array_equal(instance.mask, mask)
        np.testing.assert_array_equal(instance.box_mask, mask[top:bottom, left:right])
        assert instance.to_rle() == encode_rle(mask)
        assert instance.rle["size"] == [bottom - top, right - left]
        assert instance.box_mask.any(axis=0).all() or share < 1.0


def test_instances_that_the_model_names_are_the_answer() -> None:
    near, far, nothing = disc((20, 20), 9), disc((25, 22), 8), np.zeros(SIZE_HW, dtype=bool)
    named = tuple(Instance.from_mask(mask, score) for mask, score in ((near, 0.4), (nothing, 0.9), (far, 0.7)))
    result = dataclasses.replace(make_result(two_squares()), found=named)
    assert [instance.score for instance in result.instances] == [0.7, 0.4]
    np.testing.assert_array_equal(result.mask, near | far)
    assert decode_rle(result.to_dict()["mask"]).sum() == (near | far).sum()
    none_named = dataclasses.replace(result, found=())
    assert none_named.instances == () and not none_named.mask.any()
    absent = dataclasses.replace(result, presence=0.1)
    assert absent.instances == () and not absent.mask.any()


def test_28_masks_of_a_large_photo_take_less_than_a_megabyte() -> None:
    size_hw = (1080, 1920)
    discs = [disc((60 * index, 500), 200, size_hw) for index in range(28)]
    results = [make_result(disc((20 + index, 20), 9, (40, 60)) * 8.0 - 4, size_hw=size_hw) for index in range(4)]
    tracemalloc.start()
    named = [Instance.from_mask(each, 0.5) for each in discs]
    named_bytes = tracemalloc.get_traced_memory()[0]
    for result in results:
        assert result.mask.shape == result.instances[0].mask.shape == size_hw
    # What a result keeps besides its logits, after all of it was asked for.
    results_bytes = tracemalloc.get_traced_memory()[0] - named_bytes
    tracemalloc.stop()
    assert len(named) == 28
    assert named_bytes < 200_000
    assert results_bytes * 28 / 4 < 1_000_000


@pytest.mark.parametrize("size_hw", [(1, 1), (1, 20000), (20000, 1)])
def test_extreme_photos_give_extreme_results(size_hw: tuple[int, int], tmp_path: Path) -> None:
    result = make_result(np.full((16, 16), 2.0), size_hw=size_hw)
    assert result.mask.shape == size_hw
    assert [instance.box_xyxy for instance in result.instances] == [(0, 0, size_hw[1], size_hw[0])]
    segmentation(result).save(tmp_path)


def test_results_are_frozen() -> None:
    result = make_result(two_squares())
    with pytest.raises(dataclasses.FrozenInstanceError):
        result.presence = 0.1  # type: ignore[misc]
    for array in (result.mask, result.probability, result.instances[0].mask):
        with pytest.raises(ValueError, match="read-only"):
            array[0, 0] = 1


def test_segmentation_is_a_sequence_in_order() -> None:
    results = [make_result(two_squares(), label=label) for label in ("cat", "dog", "cat")]
    found = segmentation(*results)
    assert len(found) == 3
    assert [result.label for result in found] == ["cat", "dog", "cat"]
    assert found[-1] is results[2]
    assert found[:2] == tuple(results[:2])


def test_json_tells_everything_and_its_masks_decode() -> None:
    found = segmentation(make_result(two_squares(), label="猫"), make_result(two_squares(), presence=0.1))
    document = json.loads(found.to_json())
    assert list(document) == ["schema", "model", "size_hw", "presence_threshold", "mask_threshold", "results"]
    assert document["size_hw"] == [60, 90]
    present, absent = document["results"]
    assert present["label"] == "猫"
    np.testing.assert_array_equal(decode_rle(present["mask"]), found[0].mask)
    np.testing.assert_array_equal(decode_rle(present["instances"][1]["mask"]), found[0].instances[1].mask)
    assert absent["is_present"] is False
    assert absent["instances"] == []
    assert not decode_rle(absent["mask"]).any()


def test_save_writes_overlay_masks_and_json(tmp_path: Path) -> None:
    labels = ["the cat's ear", "猫", "../../etc/passwd", "cat", "cat"]
    found = segmentation(*(make_result(two_squares(), label=label) for label in labels))
    overlay, *masks, document = found.save(tmp_path / "deep" / "out")
    assert [path.name for path in masks] == [
        "mask-000-the-cats-ear.png",
        "mask-001-query.png",
        "mask-002-etc-passwd.png",
        "mask-003-cat.png",
        "mask-004-cat.png",
    ]
    assert sorted((tmp_path / "deep" / "out").iterdir()) == sorted([overlay, *masks, document])
    with Image.open(masks[0]) as mask:
        np.testing.assert_array_equal(np.asarray(mask), found[0].mask * np.uint8(255))
    with Image.open(overlay) as image:
        assert image.size == (90, 60)
    written = json.loads(document.read_text(encoding="utf-8"))
    assert [each["mask_file"] for each in written["results"]] == [path.name for path in masks]


def test_save_says_what_it_could_not_write(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match=r"file.overlay\.png: can't be written: (Not a directory|File exists)"):
        segmentation(make_result(two_squares())).save(tmp_path / "file")
    (tmp_path / "out" / "result.json").mkdir(parents=True)
    with pytest.raises(OutputError, match=r"result\.json: can't be written"):
        segmentation(make_result(two_squares())).save(tmp_path / "out")
    assert not [path for path in (tmp_path / "out").iterdir() if path.name.startswith(".")]


def test_supervision_gets_the_objects_in_order() -> None:
    supervision = pytest.importorskip("supervision")
    found = segmentation(
        make_result(two_squares(), label="cat"),
        make_result(two_squares(), label="absent", presence=0.1),
        make_result(two_squares(), label="dog"),
    )
    detections = found.to_supervision()
    assert isinstance(detections, supervision.Detections)
    assert detections.xyxy.tolist() == [[5, 5, 45, 45], [60, 10, 75, 20]] * 2
    assert detections.class_id.tolist() == [0, 0, 2, 2]
    assert detections["class_name"].tolist() == ["cat", "cat", "dog", "dog"]
    np.testing.assert_allclose(detections.confidence, [each.score for r in found for each in r.instances], rtol=1e-6)
    np.testing.assert_array_equal(detections.mask, [each.mask for result in found for each in result.instances])
    nothing = segmentation(make_result(two_squares(), presence=0.1)).to_supervision()
    assert (len(nothing), nothing.xyxy.shape, nothing.mask.shape) == (0, (0, 4), (0, *SIZE_HW))


def test_without_supervision_the_error_is_a_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'promptseg\[supervision\]'"):
        segmentation(make_result(two_squares())).to_supervision()
