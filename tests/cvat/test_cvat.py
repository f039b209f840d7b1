"""CVAT's functions: called by CVAT's own driver classes and as nuclio calls them, with the tiny model."""

import base64
import importlib.util
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cvat_sdk.auto_annotation as cvat
import numpy as np
import pytest
import yaml
from cvat_sdk.masks import decode_mask, encode_mask
from hypothesis import given, settings
from hypothesis.extra import numpy as arrays
from PIL import Image
from served_world import tiny_predictor

import promptseg
from promptseg import BoxPrompt, PointPrompt, Predictor, Query
from promptseg.cvat import detector, interactor, serverless
from promptseg.cvat.codes import encode_bits, encode_runs, outline, read_labels
from promptseg.errors import PromptError
from promptseg.image_files import bundled_image
from promptseg.ops.polygons import fill_rings
from promptseg.results import Instance

PHOTO = bundled_image("chelsea")
SIZE_HW = (300, 451)
FUNCTIONS = Path(__file__).parents[2] / "integrations/cvat"
LABELS = {"table": "table", "pet": "cat", "lawn": "grass"}


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return tiny_predictor()


# Codes ---------------------------------------------------------------------------------------------------------------


@settings(max_examples=100, deadline=None)
@given(arrays.arrays(np.bool_, arrays.array_shapes(min_dims=2, max_dims=2, max_side=9)))
def test_codes_are_those_of_the_sdk(mask: np.ndarray[Any, np.dtype[np.bool_]]) -> None:
    if not mask.any():
        return
    instance = Instance.from_mask(mask, 1.0)
    assert encode_runs(instance) == encode_mask(mask)
    *bits, left, top, right, bottom = encode_bits(instance)
    shape = (bottom - top + 1, right - left + 1)
    np.testing.assert_array_equal(np.array(bits).reshape(shape), mask[top : bottom + 1, left : right + 1])


def test_an_outline_is_one_ring_with_holes_cut_open() -> None:
    mask = np.zeros((60, 80), dtype=np.bool_)
    mask[10:50, 10:40] = mask[20:40, 50:70] = True
    mask[20:30, 20:30] = False
    ring = np.array(outline(Instance.from_mask(mask, 1.0))).reshape(-1, 2)
    np.testing.assert_array_equal(fill_rings([ring], mask.shape), mask)


def test_labels_are_read() -> None:
    assert read_labels("cat, ear=the cat's ear,") == {"cat": "cat", "ear": "the cat's ear"}
    for bad in ("", " , ", "cat, cat", "=cat"):
        with pytest.raises(PromptError, match="labels are like"):
            read_labels(bad)


# Functions of the SDK ---------------------------------------------------------------------------------------------


@dataclass
class DetectionContext(cvat.DetectionFunctionContext):
    """What an agent hands over with an image."""

    conf_threshold: float | None = None
    conv_mask_to_poly: bool = False
    frame_name: str = "chelsea.jpg"


@dataclass
class Prompts(cvat.InteractionPrompts):
    """What a person clicked."""

    pos_points: Sequence[tuple[float, float]] = ()
    neg_points: Sequence[tuple[float, float]] = ()
    bounding_box: tuple[tuple[float, float], tuple[float, float]] | None = None


def test_a_detector_gives_masks_by_label(predictor: Predictor) -> None:
    function = detector.PhraseDetector(predictor, LABELS)
    assert [(label.name, label.id) for label in function.spec.labels] == [("table", 0), ("pet", 1), ("lawn", 2)]
    shapes = function.detect(DetectionContext(), Image.open(PHOTO))
    found = predictor.segment(PHOTO, list(LABELS.values()))
    expected = [(index, each) for index, result in enumerate(found) if result.is_present for each in result.instances]
    assert [shape.label_id for shape in shapes] == [index for index, _ in expected] == [0, 1]
    for shape, (_, instance) in zip(shapes, expected, strict=True):
        assert shape.type.value == "mask" and shape.frame == 0
        decoded = decode_mask(shape.points, image_width=451, image_height=300)
        np.testing.assert_array_equal(decoded, instance.mask)


def test_a_detector_gives_polygons_where_they_are_asked_for(predictor: Predictor) -> None:
    function = detector.PhraseDetector(predictor, {"table": "table"})
    (polygon,) = function.detect(DetectionContext(conv_mask_to_poly=True), Image.open(PHOTO))
    assert polygon.type.value == "polygon"
    ring = np.array(polygon.points).reshape(-1, 2)
    assert (fill_rings([ring], SIZE_HW) ^ predictor.segment(PHOTO, "table")[0].mask).mean() < 0.03


def test_a_detector_keeps_the_threshold(predictor: Predictor) -> None:
    function = detector.PhraseDetector(predictor, LABELS)
    counts = [len(function.detect(DetectionContext(each), Image.open(PHOTO))) for each in (0.5, 1.0)]
    assert counts == [2, 0]


def test_an_interactor_encodes_once_and_segments(predictor: Predictor) -> None:
    function = interactor.ClickSegmenter(predictor)
    context = cvat.InteractionFunctionContext()
    embedding = function.preprocess_image(context, Image.open(PHOTO))
    points = PointPrompt(((220, 150), (20, 20)), (True, False))
    for prompts, query in (
        (Prompts([(220, 150)], [(20, 20)]), points),
        (Prompts(bounding_box=((100, 50), (300, 250))), BoxPrompt((100, 50, 300, 250))),
        (
            Prompts([(220, 150)], [(20, 20)], ((100, 50), (300, 250))),
            Query("x", (BoxPrompt((100, 50, 300, 250)), points)),
        ),
    ):
        (shape,) = function.detect(context, embedding, prompts)
        decoded = decode_mask(shape.points, image_width=451, image_height=300)
        np.testing.assert_array_equal(decoded, predictor.segment(PHOTO, query)[0].mask)
    with pytest.raises(PromptError, match="nothing was asked for"):
        function.detect(context, embedding, Prompts())


def test_the_tools_of_cvat_make_the_functions() -> None:
    made = detector.create(labels="cat, ear=the cat's ear", model="promptseg-test", engine="torch")
    assert [label.name for label in made.spec.labels] == ["cat", "ear"]
    assert interactor.create(model="sam-test", engine="torch").spec.min_neg_points == 0


# Serverless ------------------------------------------------------------------------------------------------------


class Context:
    """nuclio's context: a logger, room for the function's own data, and the class of answers."""

    def __init__(self) -> None:
        self.user_data = SimpleNamespace()
        self.logger = logging.getLogger("nuclio")
        self.Response = SimpleNamespace


@pytest.fixture(params=["detector", "interactor"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def call(handle: Any, context: Context, **body: Any) -> tuple[int, Any]:
    """Hand over an event, whose body nuclio has decoded; read the answer as CVAT does."""
    encoded = base64.b64encode(PHOTO.read_bytes()).decode()
    answer = handle(context, SimpleNamespace(body={"image": encoded, **body}))
    assert answer.content_type == "application/json"
    return answer.status_code, json.loads(answer.body)


def load_function(kind: str, predictor: Predictor, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, Context, Any]:
    """Import `main.py` and start it as nuclio does, with the tiny model; give handler, context and `function.yaml`."""
    described = yaml.safe_load((FUNCTIONS / kind / "function.yaml").read_text(encoding="utf-8"))
    for variable in described["spec"].get("env") or ():
        monkeypatch.setenv(variable["name"], variable["value"])
    monkeypatch.setattr(promptseg, "load", lambda: predictor, raising=False)
    spec = importlib.util.spec_from_file_location(f"cvat_{kind}", FUNCTIONS / kind / "main.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    context = Context()
    module.init_context(context)
    name, handler = described["spec"]["handler"].split(":")
    assert name == "main"
    return getattr(module, handler), context, described


def test_the_files_describe_what_cvat_reads(kind: str, predictor: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    _, _, described = load_function(kind, predictor, monkeypatch)
    annotations = described["metadata"]["annotations"]
    assert annotations["type"] == kind
    if kind == "detector":
        (labels,) = [each["value"] for each in described["spec"]["env"] if each["name"] == "LABELS"]
        assert [each["name"] for each in json.loads(annotations["spec"])] == list(read_labels(labels))
    else:
        assert (annotations["min_pos_points"], annotations["min_neg_points"]) == (1, 0)


def test_the_interactor_answers_clicks(predictor: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    handle, context, _ = load_function("interactor", predictor, monkeypatch)
    clicks = {"pos_points": [[220, 150]], "neg_points": [[20, 20]], "obj_bbox": None}
    status, answer = call(handle, context, **clicks)
    expected = predictor.segment(PHOTO, PointPrompt(((220, 150), (20, 20)), (True, False)))[0].mask
    assert status == 200
    np.testing.assert_array_equal(np.array(answer["mask"]), expected)
    status, answer = call(handle, context, pos_points=[], neg_points=[], obj_bbox=[[100, 50], [300, 250]])
    np.testing.assert_array_equal(
        np.array(answer["mask"]), predictor.segment(PHOTO, BoxPrompt((100, 50, 300, 250)))[0].mask
    )


def test_a_picture_that_comes_again_is_not_encoded_again(predictor: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    encoded = []
    encode = type(predictor).encode

    def counted(self: Predictor, image: Any) -> Any:
        encoded.append(1)
        return encode(self, image)

    monkeypatch.setattr(type(predictor), "encode", counted)
    handle = serverless.interactor(predictor)
    for x in (100, 200, 300):
        assert call(handle, Context(), pos_points=[[x, 150]], neg_points=[])[0] == 200
    assert len(encoded) == 1


def test_the_detector_answers_masks_and_outlines(predictor: Predictor) -> None:
    handle = serverless.detector(predictor, LABELS)
    status, found = call(handle, Context(), threshold=0.5)
    assert status == 200 and [each["label"] for each in found] == ["table", "pet"]
    for each in found:
        *bits, left, top, right, bottom = each["mask"]
        mask = np.zeros(SIZE_HW, dtype=np.bool_)
        mask[top : bottom + 1, left : right + 1] = np.array(bits).reshape(bottom - top + 1, right - left + 1)
        (expected,) = predictor.segment(PHOTO, LABELS[each["label"]])[0].instances
        np.testing.assert_array_equal(mask, expected.mask)
        assert each["type"] == "mask" and float(each["confidence"]) == pytest.approx(expected.score, abs=1e-4)
        ring = np.array(each["points"]).reshape(-1, 2)
        assert (fill_rings([ring], SIZE_HW) ^ mask).mean() < 0.03
    assert call(handle, Context(), threshold=1.0) == (200, [])


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"image": "?"}, "image is no base64"),
        ({"image": 3}, "image is no base64"),
        ({"image": "aGVsbG8="}, "not an image"),
        ({"pos_points": [], "neg_points": None}, "nothing was asked for"),
        ({"pos_points": [[900, 20]]}, "outside the image"),
        ({"pos_points": [[1, 2, 3]]}, "a point is (x, y)"),
        ({"obj_bbox": [[1, 2]]}, "a box has two corners, not 1"),
    ],
)
def test_bad_events_are_answered_by_what_is_wrong(predictor: Predictor, body: dict[str, Any], message: str) -> None:
    status, answer = call(serverless.interactor(predictor), Context(), **({"pos_points": [[9, 9]]} | body))
    assert status == 400 and message in answer["error"]


@pytest.mark.parametrize("body", [b"{", b"[1]", "x"])
def test_bodies_that_are_no_json(predictor: Predictor, body: Any) -> None:
    answer = serverless.interactor(predictor)(Context(), SimpleNamespace(body=body))
    assert answer.status_code == 400 and "is no JSON" in answer.body
