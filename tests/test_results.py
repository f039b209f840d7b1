"""Results: masks of the size of the image, instances, labels, conversions, files and JSON."""

import dataclasses
import io
import json
import math
import pickle
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from promptseg.errors import DataError, MissingExtraError, OutputError, PromptError
from promptseg.formats.annotation import Annotation
from promptseg.formats.dataset import read
from promptseg.ops.overlay import PALETTE_RGB
from promptseg.ops.polygons import fill_rings
from promptseg.ops.rle import decode_rle, encode_rle
from promptseg.results import Instance, QueryResult, Segmentation

SIZE_HW = (60, 90)


def make_result(
    mask_logits: np.ndarray, *, label: str = "cat", presence: float = 0.9, size_hw: tuple[int, int] = SIZE_HW
) -> QueryResult:
    return QueryResult(label, presence, mask_logits.astype(np.float32), size_hw, 0.5, 0.5)


def two_squares() -> np.ndarray:
    """Logits of a large sure square, a small unsure one, and a tiny part; at the size of the image."""
    logits = np.full(SIZE_HW, -6.0)
    logits[5:45, 5:45] = 4.0
    logits[10:20, 60:75] = 1.0
    logits[55:57, 80:82] = 6.0
    return logits


def segmentation(*results: QueryResult) -> Segmentation:
    image_rgb = np.full((*results[0].size_hw, 3), 128, dtype=np.uint8)
    return Segmentation(image_rgb, results, "promptseg-test", 0.5, 0.5)


def test_mask_has_the_size_of_the_image() -> None:
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


def test_instances_are_connected_objects_without_small_parts() -> None:
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
    result = QueryResult(*dataclasses.astuple(make_result(two_squares()))[:6], named)
    assert [instance.score for instance in result.instances] == [0.7, 0.4]
    np.testing.assert_array_equal(result.mask, near | far)
    assert decode_rle(result.to_dict()["mask"]).sum() == (near | far).sum()
    none_named = dataclasses.replace(result, model_instances=())
    assert none_named.instances == () and not none_named.mask.any()
    absent = dataclasses.replace(result, presence=0.1)
    assert absent.instances == () and not absent.mask.any()
    with pytest.warns(DeprecationWarning, match="model_instances"):
        assert result.found is named


def test_28_masks_of_a_large_image_take_less_than_a_megabyte() -> None:
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
def test_extreme_images_give_extreme_results(size_hw: tuple[int, int], tmp_path: Path) -> None:
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
    assert list(document) == [
        "schema", "model", "fingerprint", "size_hw", "presence_threshold", "unsure_threshold", "mask_threshold",
        "results",
    ]  # fmt: skip
    assert document["size_hw"] == [60, 90]
    present, absent = document["results"]
    assert present["label"] == "猫"
    np.testing.assert_array_equal(decode_rle(present["mask"]), found[0].mask)
    np.testing.assert_array_equal(decode_rle(present["instances"][1]["mask"]), found[0].instances[1].mask)
    assert list(present["instances"][0]) == ["box_xyxy", "score", "mask"], "no key for what is unknown"
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


def test_a_result_is_found_by_its_label() -> None:
    results = [make_result(two_squares(), label=label) for label in ("cat", "dog", "cat")]
    found = segmentation(*results)
    assert found["cat"] is results[0], "the first one"
    assert found["dog"] is results[1]
    assert found.labels == ("cat", "dog", "cat")
    assert [(label, result.label) for label, result in found.items()] == [(label, label) for label in found.labels]
    assert "dog" in found and "cow" not in found
    assert results[2] in found and make_result(two_squares()) not in found
    for refused in (lambda: found["cow"], lambda: found.count("cow")):
        for kind in (PromptError, KeyError):
            with pytest.raises(kind, match=r"no query has the label 'cow'; there are 'cat', 'dog', 'cat'$"):
                refused()


def test_count_counts_the_instances_of_a_label() -> None:
    found = segmentation(make_result(two_squares()), make_result(two_squares(), label="dog", presence=0.1))
    assert found.count("cat") == 2
    assert found.count("dog") == 0
    with pytest.raises(PromptError, match="count takes a label, such as 'cat', not QueryResult"):
        found.count(found[0])  # type: ignore[arg-type]


def test_reprs_are_one_line() -> None:
    result = make_result(two_squares(), presence=0.224)
    assert repr(result) == "<QueryResult 'cat' absent presence=0.22 instances=0>"
    found = segmentation(make_result(two_squares()), *[make_result(two_squares(), label="dog", presence=0.1)] * 6)
    assert repr(found) == (
        "<Segmentation by 'promptseg-test' size_hw=(60, 90) 'cat' 0.90, 'dog' 0.10, 'dog' 0.10, 'dog' 0.10, "
        "'dog' 0.10, 2 more>"
    )
    instance = found[0].instances[0]
    assert repr(instance) == "<Instance box_xyxy=(5, 5, 45, 45) score=0.88 area=1600>"
    assert "mask_quality=0.70" in repr(dataclasses.replace(instance, mask_quality=0.7))


def test_notebooks_get_a_picture() -> None:
    found = segmentation(make_result(two_squares(), size_hw=(2000, 3000)))
    with Image.open(io.BytesIO(found._repr_png_())) as drawn:
        assert (drawn.format, drawn.size) == ("PNG", (1024, 683))
    for each in (found[0], found[0].instances[1]):
        with Image.open(io.BytesIO(each._repr_png_())) as mask:
            np.testing.assert_array_equal(np.asarray(mask), each.mask)


def test_polygons_are_in_pixels_of_the_image() -> None:
    result = make_result(two_squares())
    large, small, tiny = result.polygons()
    assert sorted(small.outer.tolist()) == [[60, 10], [60, 20], [75, 10], [75, 20]]
    assert [polygon.outer.tolist() for polygon in result.instances[1].polygons()] == [small.outer.tolist()]
    shown = fill_rings([large.outer, small.outer, tiny.outer], SIZE_HW)
    np.testing.assert_array_equal(shown, result.mask)
    round_one = Instance.from_mask(disc((40, 30), 20), 0.5)
    (exact,), (coarse,) = round_one.polygons(), round_one.polygons(tolerance=2.0)
    assert len(coarse.outer) < len(exact.outer) / 3
    assert (fill_rings([coarse.outer], SIZE_HW) ^ round_one.mask).sum() < 0.1 * round_one.area
    assert Instance.from_mask(np.zeros(SIZE_HW, dtype=bool), 0.5).polygons() == ()
    with pytest.raises(PromptError, match="the tolerance is a number of pixels from 0 on, not -1"):
        round_one.polygons(tolerance=-1)


def test_an_inverted_result_is_everything_but_the_object() -> None:
    present, absent = make_result(two_squares()), make_result(two_squares(), label="dog", presence=0.1)
    found = segmentation(present, absent).inverted()
    assert found.labels == ("everything but cat", "everything but dog")
    np.testing.assert_array_equal(found[0].mask, ~present.mask)
    assert found[1].mask.all() and [each.presence for each in found] == [1.0, 1.0]
    assert (found[0].probability[present.mask] < 0.5).all() and found[1].probability.min() > 0.99
    np.testing.assert_array_equal(found[0].inverted().mask, present.mask)
    nothing = make_result(np.full((60, 90), 9.0, dtype=np.float32)).inverted()
    assert not nothing.mask.any() and nothing.presence == 0 and nothing.instances == ()


def test_areas_count_pixels() -> None:
    result = make_result(two_squares())
    assert result.area == result.mask.sum() == 1600 + 150 + 4
    assert [instance.area for instance in result.instances] == [1600, 150]
    assert make_result(two_squares(), presence=0.1).area == 0


def test_cut_outs_show_the_object_alone() -> None:
    image_rgb = np.random.default_rng(0).integers(0, 256, (*SIZE_HW, 3), dtype=np.uint8)
    round_one = Instance.from_mask(disc((70, 30), 12), 0.5)
    left, top, right, bottom = round_one.box_xyxy
    for image in (image_rgb, Image.fromarray(image_rgb)):
        shown = np.asarray(round_one.cut_out(image))
        np.testing.assert_array_equal(shown[..., 3] > 0, round_one.box_mask)
        inside = round_one.box_mask[..., None]
        np.testing.assert_array_equal(shown[..., :3], image_rgb[top:bottom, left:right] * inside)
    assert make_result(two_squares()).cut_out(image_rgb).size == (82 - 5, 57 - 5)
    with pytest.raises(PromptError, match="nothing to cut out"):
        make_result(two_squares(), presence=0.1).cut_out(image_rgb)
    with pytest.raises(PromptError, match=r"has \(90, 60\) pixels \(H, W\), .* segmented has \(60, 90\)"):
        round_one.cut_out(np.zeros((90, 60, 3), dtype=np.uint8))


def test_overlay_draws_what_is_asked_for() -> None:
    found = segmentation(make_result(two_squares()), make_result(two_squares(), label="dog", presence=0.1))
    plain = np.asarray(found.overlay(labels=False))
    assert (np.asarray(found.overlay()) != plain).any(), "a label is drawn"
    boxed = np.asarray(found.overlay(labels=False, boxes=True))
    assert boxed[10, 60].tolist() == boxed[19, 74].tolist() == list(PALETTE_RGB[0])
    assert (boxed[57:, :] == plain[57:, :]).all(), "no box for what is no instance"
    assert np.asarray(found.overlay(labels=False, alpha=0.0))[25, 25].tolist() == [128, 128, 128]
    assert np.asarray(found.overlay(labels=False, alpha=1.0))[25, 25].tolist() == list(PALETTE_RGB[0])
    with pytest.raises(PromptError, match=r"alpha is a number in \[0, 1\], not 1\.5"):
        found.overlay(alpha=1.5)


def test_coco_annotations_are_read_by_pycocotools() -> None:
    coco = pytest.importorskip("pycocotools.coco")
    found = segmentation(
        make_result(two_squares(), label="cat"),
        make_result(two_squares(), label="absent", presence=0.1),
        make_result(two_squares(), label="cat"),
        make_result(two_squares(), label="dog"),
    )
    data = coco.COCO()
    categories = [{"id": index, "name": name} for index, name in enumerate(("cat", "absent", "dog"), start=1)]
    data.dataset = {"images": [{"id": 7, "height": 60, "width": 90}], "categories": categories, "annotations": []}
    data.createIndex()
    loaded = data.loadRes(found.to_coco(image_id=7))
    annotations = [loaded.anns[index] for index in sorted(loaded.anns)]
    instances = [(result.label, each) for result in found for each in result.instances]
    assert len(annotations) == len(instances) == 6
    for annotation, (label, instance) in zip(annotations, instances, strict=True):
        assert annotation["image_id"] == 7
        assert loaded.cats[annotation["category_id"]]["name"] == label
        left, top, right, bottom = instance.box_xyxy
        assert annotation["bbox"] == [left, top, right - left, bottom - top]
        assert (annotation["area"], annotation["iscrowd"]) == (instance.area, 0)
        assert annotation["score"] == instance.score
        np.testing.assert_array_equal(loaded.annToMask(annotation), instance.mask)
    assert json.loads(json.dumps(found.to_coco())) == found.to_coco()


def test_everything_can_be_pickled() -> None:
    named = (Instance.from_mask(disc((20, 20), 9), 0.4, mask_quality=0.8),)
    found = segmentation(
        make_result(two_squares()), dataclasses.replace(make_result(two_squares()), model_instances=named)
    )
    again = pickle.loads(pickle.dumps(found))
    assert again.to_json() == found.to_json()
    assert repr(again) == repr(found)
    np.testing.assert_array_equal(again.image_rgb, found.image_rgb)
    np.testing.assert_array_equal(again[0].mask_logits, found[0].mask_logits)


def test_a_saved_result_comes_back(tmp_path: Path) -> None:
    image_rgb = np.random.default_rng(0).integers(0, 256, (*SIZE_HW, 3), dtype=np.uint8)
    Image.fromarray(image_rgb).save(tmp_path / "photo.png")
    overlapping = tuple(Instance.from_mask(disc((20 + i, 20), 9), 0.9 - i / 10, mask_quality=0.7) for i in range(2))
    results = (
        make_result(two_squares()),
        dataclasses.replace(make_result(two_squares(), label="猫"), model_instances=overlapping),
        make_result(two_squares(), label="dog", presence=0.1),
    )
    found = Segmentation(image_rgb, results, "promptseg-test", 0.5, 0.5, "abc", str(tmp_path / "photo.png"))
    found.save(tmp_path / "out")
    loaded = Segmentation.load(tmp_path / "out")
    assert loaded.to_json() == found.to_json()
    assert (loaded.origin, loaded.source) == (found.origin, found.source)
    np.testing.assert_array_equal(loaded.image_rgb, image_rgb)
    for before, after in zip(found, loaded, strict=True):
        np.testing.assert_array_equal(after.mask, before.mask)
        assert [each.mask_quality for each in after.instances] == [each.mask_quality for each in before.instances]
        assert ((after.probability >= 0.5) == before.mask).mean() > 0.95 or not before.is_present
    assert loaded["cat"].as_prompt().mask.sum() == loaded["cat"].area
    loaded.save(tmp_path / "again")
    assert (tmp_path / "again" / "result.json").read_bytes() == (tmp_path / "out" / "result.json").read_bytes()
    data = read(tmp_path / "out")
    assert data.classes == ("cat", "猫", "dog")
    (annotation,) = data.annotations
    assert (annotation.file_name, annotation.size_hw) == ("photo.png", SIZE_HW)
    assert [region.label for region in annotation.regions] == ["cat", "猫"]
    np.testing.assert_array_equal(annotation.regions[0].area.mask, found[0].mask)


def test_a_saved_result_is_not_shown_on_another_image(tmp_path: Path) -> None:
    found = segmentation(make_result(two_squares()))
    found.save(tmp_path)
    with pytest.raises(DataError, match=r"result\.json: does not say which image it is of; give the image"):
        Segmentation.load(tmp_path)
    assert Segmentation.load(tmp_path, image=found.image_rgb).to_json() == found.to_json()
    with pytest.raises(DataError, match=r"is of an image of \[60, 90\] pixels \(H, W\), not of \(90, 60\)"):
        Segmentation.load(tmp_path, image=np.zeros((90, 60, 3), dtype=np.uint8))
    path = tmp_path / "photo.png"
    dataclasses.replace(found, source=str(path)).save(tmp_path)
    with pytest.raises(DataError, match=r"its image can't be read \(.*no such file\); give the image"):
        Segmentation.load(tmp_path)
    Image.new("RGB", (90, 60)).save(path)
    with pytest.raises(DataError, match=r"the pixels of .*photo\.png are not those that were segmented"):
        Segmentation.load(tmp_path)
    assert Segmentation.load(tmp_path, image=path).source == str(path)
    path.rename(tmp_path / "moved.png")
    assert Segmentation.load(tmp_path, image=tmp_path / "moved.png").source == str(tmp_path / "moved.png")


def test_a_tilde_is_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    found = segmentation(make_result(two_squares()))
    paths = found.save("~/out")
    assert paths[-1] == tmp_path / "out" / "result.json"
    assert Segmentation.load("~/out", image=found.image_rgb).labels == read("~/out").classes == ("cat",)


def test_masks_are_written_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Segmentation, "overlay", lambda self: Image.new("RGB", (1, 1)))
    result = make_result(np.full((4, 4), 3.0), size_hw=(500, 1000))
    peaks = []
    for num_results in (1, 40):
        found = segmentation(*[result] * num_results)
        found[0].instances  # noqa: B018
        tracemalloc.start()
        found.save(tmp_path)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 5 * 500 * 1000, "one byte a pixel for some masks, not for 40"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"schema": "promptseg/segmentation-9"}, "not a result that Segmentation.save wrote"),
        ({"size_hw": [0, 5]}, "whole numbers from 1 on"),
        ({"size_hw": [60, 91]}, "not a result that Segmentation.save wrote: .*the mask is"),
        ({"results": [{"label": "cat"}]}, "not a result .*: 'mask' is missing"),
        ({"results": 3}, "not a result .*: 'results' is no list"),
        ({"presence_threshold": float("nan")}, r"'presence_threshold' is a number in \[0, 1\], not nan"),
        ({"mask_threshold": "0.5"}, r"'mask_threshold' is a number in \[0, 1\], not '0.5'"),
        ({"unsure_threshold": -1}, r"'unsure_threshold' is a number in \[0, 1\], not -1"),
    ],
)
def test_a_damaged_result_is_named(change: dict[str, object], said: str, tmp_path: Path) -> None:
    segmentation(make_result(two_squares())).save(tmp_path)
    path = tmp_path / "result.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    for refused in (lambda: Segmentation.load(tmp_path), lambda: read(tmp_path, format="result")):
        with pytest.raises(DataError, match=rf"result\.json: .*{said}"):
            refused()
    with pytest.raises(DataError, match=r"result\.json: can't be read"):
        Segmentation.load(tmp_path / "nowhere")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -0.1, 1.5, None, "0.5", True])
@pytest.mark.parametrize("name", ["presence", "score"])
def test_numbers_of_a_saved_result_are_probabilities(name: str, value: object, tmp_path: Path) -> None:
    segmentation(make_result(two_squares())).save(tmp_path)
    path = tmp_path / "result.json"
    document = json.loads(path.read_text())
    result = document["results"][0]
    (result if name == "presence" else result["instances"][0])[name] = value
    path.write_text(json.dumps(document))
    with pytest.raises(DataError, match=rf"result\.json: not a result .*: '{name}' is a number in \[0, 1\], not"):
        Segmentation.load(tmp_path)


def test_json_that_is_too_deep_is_named(tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text("[" * 100_000 + "]" * 100_000)
    for refused in (lambda: Segmentation.load(tmp_path), lambda: read(tmp_path)):
        with pytest.raises(DataError, match=r"result\.json: can't be read, it is no JSON: .*nested too deeply"):
            refused()


def test_a_folder_used_again_holds_no_stale_masks(tmp_path: Path) -> None:
    out = tmp_path / "out"
    results = [make_result(two_squares(), label=label) for label in ("cat", "dog", "cow")]
    segmentation(*results).save(out)
    for name in ("mask-009-mine.png", "notes.txt"):
        (out / name).touch()
    segmentation(results[1]).save(out)
    kept = {"overlay.png", "result.json", "mask-000-dog.png", "mask-009-mine.png", "notes.txt"}
    assert {path.name for path in out.iterdir()} == kept


def test_a_forged_list_of_masks_removes_nothing_else(tmp_path: Path) -> None:
    out = tmp_path / "out"
    segmentation(make_result(two_squares())).save(out)
    path = out / "result.json"
    document = json.loads(path.read_text())
    (tmp_path / "mask-000-cat.png").touch()
    (out / "notes.txt").touch()
    for name in ("../mask-000-cat.png", "notes.txt", 7, None):
        document["results"][0]["mask_file"] = name
        path.write_text(json.dumps(document))
        segmentation(make_result(two_squares(), label="dog")).save(out)
    assert (tmp_path / "mask-000-cat.png").exists() and (out / "notes.txt").exists()


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


def unsure_result(presence: float = 0.4) -> QueryResult:
    result = make_result(two_squares(), label="soapbox cart", presence=presence)
    return dataclasses.replace(result, unsure_threshold=0.3, read_as="cart")


@pytest.mark.parametrize(
    ("presence", "status"), [(0.5, "present"), (0.49, "unsure"), (0.3, "unsure"), (0.29, "absent")]
)
def test_status_has_two_thresholds(presence: float, status: str) -> None:
    result = unsure_result(presence)
    assert result.status == status
    assert result.is_present == (status == "present")
    assert result.mask.any() == bool(result.instances) == (status != "absent")


def test_without_a_second_threshold_nothing_is_unsure() -> None:
    result = make_result(two_squares(), presence=0.49)
    assert result.status == "absent" and result.read_as is None and not result.mask.any()


def test_an_unsure_result_is_saved_and_loaded(tmp_path: Path) -> None:
    image_rgb = np.full((*SIZE_HW, 3), 128, dtype=np.uint8)
    saved = Segmentation(image_rgb, (unsure_result(),), "promptseg-test", 0.5, 0.5, unsure_threshold=0.3)
    saved.save(tmp_path)
    loaded = Segmentation.load(tmp_path, image=image_rgb)
    assert loaded.unsure_threshold == 0.3
    assert (loaded[0].status, loaded[0].read_as) == ("unsure", "cart")
    np.testing.assert_array_equal(loaded[0].mask, saved[0].mask)
    document = json.loads((tmp_path / "result.json").read_text())
    assert document["unsure_threshold"] == 0.3
    assert (document["results"][0]["status"], document["results"][0]["read_as"]) == ("unsure", "cart")


def test_results_of_earlier_versions_know_no_doubt(tmp_path: Path) -> None:
    saved = segmentation(make_result(two_squares(), presence=0.4))
    saved.save(tmp_path)
    path = tmp_path / "result.json"
    document = json.loads(path.read_text())
    del document["unsure_threshold"]
    for values in document["results"]:
        del values["status"], values["read_as"]
    path.write_text(json.dumps(document))
    loaded = Segmentation.load(tmp_path, image=saved.image_rgb)
    assert (loaded[0].status, loaded[0].read_as, loaded.unsure_threshold) == ("absent", None, None)


def test_data_sets_leave_out_what_is_unsure() -> None:
    sure = make_result(two_squares(), label="dog")
    found = segmentation(unsure_result(), sure)
    annotations = found.to_coco()
    assert len(annotations) == len(sure.instances)
    assert {annotation["category_id"] for annotation in annotations} == {2}
    regions = Annotation.from_results(found, "a.jpg", SIZE_HW).regions
    assert [region.label for region in regions] == ["dog"]


def test_an_unsure_mask_is_hatched() -> None:
    sure = np.asarray(segmentation(dataclasses.replace(unsure_result(), presence=0.9)).overlay(labels=False))
    unsure = np.asarray(segmentation(unsure_result()).overlay(labels=False))
    inside = np.s_[10:40, 10:40]
    is_tinted = (unsure[inside] != 128).any(axis=2)
    assert (sure[inside] != 128).any(axis=2).all()
    assert 0.3 < is_tinted.mean() < 0.7
    np.testing.assert_array_equal(
        unsure[is_tinted.nonzero()[0] + 10, is_tinted.nonzero()[1] + 10], sure[inside][is_tinted]
    )


def test_what_a_phrase_was_taken_as_is_said() -> None:
    result = unsure_result()
    assert result.caption == "soapbox cart: taken as cart"
    assert "unsure read_as='cart'" in repr(result)
