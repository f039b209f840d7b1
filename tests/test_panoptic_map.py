"""Maps of an image: one segment for each pixel, by a segmenter whose answers are known."""

import json
from pathlib import Path

import numpy as np
import pytest
from painted_world import Painted
from PIL import Image

import promptseg
from promptseg.errors import PromptError, UnknownLabelError, UnsupportedPromptError
from promptseg.formats.dataset import read, write
from promptseg.predictor import Predictor

PHOTOS = Path(promptseg.__file__).parent / "photos"


@pytest.fixture
def model() -> Predictor:
    return Predictor("painted", Painted(), 0.5, "torch", "0" * 16)


@pytest.fixture
def image() -> np.ndarray:
    return np.full((100, 400, 3), 90, np.uint8)


def test_things_lie_on_stuff_and_are_counted(model: Predictor, image: np.ndarray) -> None:
    found = model.panoptic(image, ["square [stuff]", "squares [thing]", "nothing"])
    assert [(one.id, one.label, one.is_thing) for one in found.segments] == [
        (1, "square", False), (2, "squares", True), (3, "squares", True)
    ]  # fmt: skip
    assert found.segment_ids.dtype == np.int32 and found.unlabelled_share == 0
    assert found.segments[1].area > found.segments[2].area > 1000
    assert [one.area for one in found.segments] == np.bincount(found.segment_ids.ravel())[1:].tolist()
    assert (found.count("squares"), found.count("square"), found.count("nothing")) == (2, 1, 0)
    assert not found.mask("nothing").any()
    np.testing.assert_array_equal(found.semantic == 1, found.mask("squares"))
    left, top, right, bottom = found.segments[2].box_xyxy
    assert found.mask("squares")[top:bottom, left:right].any() and 40 <= left < right <= 120
    with pytest.raises(ValueError, match="read-only"):
        found.segment_ids[0, 0] = 7
    with pytest.raises(UnknownLabelError, match="no class has the label 'cat'; there are 'square'"):
        found.mask("cat")


def test_what_no_class_is_sure_of_is_kept_or_filled(model: Predictor, image: np.ndarray) -> None:
    kept = model.panoptic(image, ["squares [thing]", "nothing [stuff]"])
    assert 0.6 < kept.unlabelled_share < 0.9
    filled = model.panoptic(image, ["squares [thing]", "nothing [stuff]"], unlabelled="fill")
    assert filled.unlabelled_share == 0 and filled.count("squares") == 2
    assert filled.count("nothing") == 0, "an absent class is never painted"
    assert np.isin(filled.segment_ids[kept.segment_ids == 1], 1).all(), "segments grow"
    rest = model.panoptic(image, ["squares [thing]", "background"])
    np.testing.assert_array_equal(rest.mask("background"), kept.segment_ids == 0)
    none = model.panoptic(image, ["nothing"], unlabelled="fill")
    assert none.segments == () and none.unlabelled_share == 1


def test_an_embedding_serves_many_lists(model: Predictor, image: np.ndarray) -> None:
    embedding = model.encode(image)
    lists = (["square [stuff]"], ["squares", "square [stuff]"])
    first = [model.panoptic(embedding, names) for names in lists]
    again = [model.panoptic(embedding, names) for names in reversed(lists)][::-1]
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one.segment_ids, other.segment_ids)
        assert one.segments == other.segments


def test_synonyms_are_one_class(model: Predictor, image: np.ndarray) -> None:
    found = model.panoptic(image, ["nothing, squares [thing]"])
    assert found.labels == ("nothing",) and found.count("nothing") == 2
    assert found.presence[0] == pytest.approx(0.9)


def test_small_and_weak_segments_are_left_out(model: Predictor, image: np.ndarray) -> None:
    names = ["squares [thing]"]
    assert model.panoptic(image, names, min_area=2000).count("squares") == 1
    assert model.panoptic(image, names, min_score=0.9).count("squares") == 1
    assert model.panoptic(image, names, min_score=1.0).segments == ()


def test_a_map_is_saved_written_and_told(model: Predictor, image: np.ndarray, tmp_path: Path) -> None:
    found = model.panoptic(image, ["square [stuff]", "squares [thing]"])
    overlay, segments, semantic, document = found.save(tmp_path / "map")
    with Image.open(segments) as opened:
        np.testing.assert_array_equal(np.asarray(opened)[..., 0], found.segment_ids)
    with Image.open(semantic) as opened:
        np.testing.assert_array_equal(np.asarray(opened), found.semantic + 1)
    with Image.open(overlay) as opened:
        assert opened.width == 400 and opened.height > 100, "a legend below"
    told = json.loads(document.read_text(encoding="utf-8"))
    assert told["segments"] == json.loads(found.to_json())["segments"] and told["unlabelled_share"] == 0
    assert [one["decided_by"] for one in told["classes"]] == ["mark", "mark"]
    assert found.overlay(legend=False).size == (400, 100)

    segmentation = found.to_segmentation()
    for label in found.labels:
        np.testing.assert_array_equal(segmentation[label].mask, found.mask(label))
        assert len(segmentation[label].instances) == found.count(label)
    write({"a.png": segmentation}, tmp_path / "coco", format="coco-panoptic")
    assert sorted(len(region.instances) for region in read(tmp_path / "coco").annotations[0].regions) == [1, 2]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"unlabelled": "drop"}, "unlabelled is 'keep' or 'fill', not 'drop'"),
        ({"min_score": "0.5"}, "min_score is a probability in \\[0, 1\\], not '0.5'"),
        ({"min_area": "5"}, "min_area is a number of pixels from 0 on, not '5'"),
        ({"min_score": 1.5}, "min_score is a probability in \\[0, 1\\], not 1.5"),
        ({"min_area": -1}, "min_area is a number of pixels from 0 on, not -1"),
        ({"names": ["background"]}, "'background' means everything but the other classes"),
        ({"names": "cat, dog"}, "classes are a list of lines"),
    ],
)
def test_a_request_that_is_refused(model: Predictor, image: np.ndarray, options: dict, message: str) -> None:
    with pytest.raises(PromptError, match=message):
        model.panoptic(image, **{"names": ["squares"], **options})


def test_a_model_without_phrases_says_so(image: np.ndarray) -> None:
    class Blind(Painted):
        prompt_kinds = frozenset({"point"})

    with pytest.raises(UnsupportedPromptError, match="painted takes point prompts, no text prompts"):
        Predictor("painted", Blind(), 0.5, "torch", "0" * 16).panoptic(image, ["squares"])


def test_the_default_model_maps_a_photo_by_two_lists() -> None:
    model = promptseg.load(offline=True)
    embedding = model.encode(PHOTOS / "coffee.jpg")
    found = model.panoptic(embedding, ["cup, mug", "table [stuff]", "dog", "airplane"])
    assert (found.count("cup"), found.count("table"), found.count("dog"), found.count("airplane")) == (1, 1, 0, 0)
    assert found.mask("cup")[150:250, 250:350].mean() > 0.8, "the cup is in the middle"
    assert 0.03 < found.unlabelled_share < 0.6
    filled = model.panoptic(embedding, ["table [stuff]", "dog"], unlabelled="fill")
    assert filled.mask("table").all()
    again = model.panoptic(embedding, ["cup, mug", "table [stuff]", "dog", "airplane"])
    np.testing.assert_array_equal(found.segment_ids, again.segment_ids)
