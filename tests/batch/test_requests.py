"""Classes of several wordings, points of single images, and maps: what is asked, and how answers are merged."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import promptseg as ps
from promptseg.batch import AskedClass, MapRequest
from promptseg.batch.requests import ClassesRequest, merge_results
from promptseg.batch.sources import BatchImage
from promptseg.errors import PromptError
from promptseg.panoptic_map import PanopticOptions
from promptseg.predictor import Predictor
from promptseg.prompts import BoxPrompt, PointPrompt, Query, TextPrompt
from promptseg.results import Instance, QueryResult

SIZE_HW = (20, 30)
IMAGE = BatchImage("a.png", Path("a.png"))


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return ps.load("promptseg-test", engine="torch", threshold=0.0)


def found(presence: float, *boxes: tuple[tuple[int, int, int, int], float]) -> QueryResult:
    instances = []
    for (left, top, right, bottom), score in boxes:
        mask = np.zeros(SIZE_HW, dtype=np.bool_)
        mask[top:bottom, left:right] = True
        instances.append(Instance.from_mask(mask, score))
    logits = np.zeros((4, 6), dtype=np.float32)
    return QueryResult("cup", presence, logits, SIZE_HW, 0.5, 0.5, tuple(instances), unsure_threshold=0.2)


def test_an_object_that_two_wordings_find_comes_once() -> None:
    cup = found(0.7, ((2, 2, 10, 10), 0.6), ((20, 2, 28, 10), 0.5))
    mug = found(0.9, ((2, 2, 10, 11), 0.8))
    beaker = found(0.3, ((12, 12, 18, 18), 0.3))  # unsure, beside sure ones
    merged = merge_results("cup", [cup, mug, beaker])
    assert (merged.presence, merged.status) == (0.9, "present")
    assert [(one.box_xyxy, one.score) for one in merged.instances] == [((2, 2, 10, 11), 0.8), ((20, 2, 28, 10), 0.5)]
    assert merged.mask.sum() == 8 * 9 + 8 * 8
    assert merge_results("cup", [beaker, found(0.1)]).status == "unsure"
    assert merge_results("cup", [found(0.1), found(0.15)]).instances == ()


def test_a_class_of_one_query_is_answered_as_by_segment(predictor: Predictor) -> None:
    encoded = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    Image.fromarray(noise).save(encoded, format="PNG")
    request = ClassesRequest.read(["cat", AskedClass.named("cup", "mug", "cup")])
    assert request.labels == ("cat", "cup") and len(request.queries) == 3
    answer = request.answer(predictor, encoded.getvalue(), IMAGE)
    cat, cup, mug = predictor.segment(noise, ["cat", "cup", "mug"])
    np.testing.assert_array_equal(answer["cat"].mask, cat.mask)
    assert answer["cup"].presence == max(cup.presence, mug.presence)
    assert len(answer["cup"].instances) <= len(cup.instances) + len(mug.instances)


def test_points_of_an_image_choose_among_what_the_words_find() -> None:
    near, far = PointPrompt(((3, 4),)), BoxPrompt((10, 10, 18, 18))
    image = replace(IMAGE, pointing=(Query("cup", (near,)), Query("cup", (far,))))
    cup = AskedClass.named("cup", "mug")
    asked = [query.prompts for query in cup.queries_of(image)]
    words = [TextPrompt("cup"), TextPrompt("mug")]
    assert asked == [(word, prompt) for word in words for prompt in (near, far)]
    assert cup.queries_of(IMAGE) == cup.queries, "an image without points: all that the words find"
    alone = AskedClass("cup", ())
    assert alone.queries_of(image) == image.pointing and alone.queries_of(IMAGE) == ()
    assert AskedClass.named("dog").queries_of(image) == AskedClass.named("dog").queries


def test_requests_that_differ_are_told_apart() -> None:
    plain = ClassesRequest.read(["cup", "dog"])
    assert plain.describe() == "", "the class map says it all, as in data sets of version 0.1"
    wordings = ClassesRequest.read([AskedClass.named("cup", "mug"), "dog"])
    other = ClassesRequest.read([AskedClass.named("cup", "beaker"), "dog"])
    assert len({"", wordings.describe(), other.describe()}) == 3
    maps = [
        MapRequest.of_names(["cup", "sky"]),
        MapRequest.of_names(["cup", "sky [thing]"]),
        replace(MapRequest.of_names(["cup", "sky"]), options=PanopticOptions("fill")),
    ]
    assert len({request.identify() for request in maps}) == 3
    assert maps[0].things == {"cup": True, "sky": False}


def test_requests_that_no_model_takes(predictor: Predictor) -> None:
    for request in (ClassesRequest.read([]), ClassesRequest.read("background"), MapRequest.of_names(["background"])):
        with pytest.raises(PromptError):
            request.check(predictor)
    with pytest.raises(PromptError, match="in class 1"):
        MapRequest.of_names(["cup", "mug, cup"])
