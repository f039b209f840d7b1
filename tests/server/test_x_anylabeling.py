"""The remote server of X-AnyLabeling: requests as its client builds them, answers as its client reads them."""

import base64
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from served_world import read_refusal

from promptseg import BoxPrompt, PointPrompt, Predictor, Query, TextPrompt
from promptseg.image_files import bundled_image
from promptseg.ops.polygons import fill_rings

SIZE_HW = (300, 451)
PHOTO = bundled_image("chelsea")


def request(**params: Any) -> dict[str, Any]:
    """What `RemoteServer.predict_shapes` of the client posts for a file."""
    encoded = base64.b64encode(PHOTO.read_bytes()).decode()
    return {
        "model": "tiny",
        "image": f"data:image/jpeg;base64,{encoded}",
        "params": {"conf_threshold": 0.0, "iou_threshold": 0.0, "epsilon_factor": 0.001, **params},
    }


def predict(client: TestClient, **params: Any) -> list[dict[str, Any]]:
    answer = client.post("/x-anylabeling/v1/predict", json=request(**params), headers={"Token": ""})
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body["success"] is True and body["data"]["description"] == ""
    for shape in body["data"]["shapes"]:
        assert shape["shape_type"] == "polygon" and shape["points"][0] == shape["points"][-1]
        assert all(0 <= x <= 451 and 0 <= y <= 300 for x, y in shape["points"])
    return list(body["data"]["shapes"])


def drawn(shapes: list[dict[str, Any]]) -> Any:
    mask = np.zeros(SIZE_HW, dtype=np.bool_)
    for shape in shapes:
        mask |= fill_rings([shape["points"][:-1]], SIZE_HW)
    return mask


def test_the_models_name_the_controls_that_they_need(client: TestClient) -> None:
    listed = client.get("/x-anylabeling/v1/models").json()
    assert listed["success"] is True
    model = listed["data"]["tiny"]
    assert model["batch_processing_mode"] == "text_prompt" and model["display_name"] == "promptseg: tiny"
    widgets = {widget["name"]: widget["value"] for widget in model["widgets"]}
    assert {"edit_text", "button_send", "button_add_point", "button_remove_point", "button_add_rect"} <= widgets.keys()
    assert widgets["edit_conf"] == 0.5 and widgets["toggle_preserve_existing_annotations"] is False
    assert client.get("/x-anylabeling/v1/models/tiny/info").json()["data"] == {"model_id": "tiny", **model}
    assert client.get("/x-anylabeling/health").json() == {"status": "healthy"}


def test_a_text_of_several_phrases(client: TestClient, predictor: Predictor) -> None:
    found = predictor.segment(PHOTO, ["table", "window", "cat"])
    for text in ("table, window, cat", "table.window.cat", "table, window, table, cat,"):
        shapes = predict(client, text_prompt=text)
        assert {shape["label"] for shape in shapes} == {result.label for result in found if result.is_present}
        for result in found:
            mine = [shape for shape in shapes if shape["label"] == result.label]
            assert (drawn(mine) ^ result.mask).mean() < 0.03


def test_points_and_rectangles_mean_one_object(client: TestClient, predictor: Predictor) -> None:
    marks = [
        {"type": "point", "data": [220, 150], "label": 1},
        {"type": "point", "data": [20, 20], "label": 0},
        {"type": "rectangle", "data": [300, 250, 100, 50], "label": 1},  # drawn from its lower right corner
    ]
    prompts = (BoxPrompt((100, 50, 300, 250)), PointPrompt(((220, 150), (20, 20)), (True, False)))
    for text, label, more in (("", "AUTOLABEL_OBJECT", ()), ("table", "table", (TextPrompt("table"),))):
        shapes = predict(client, marks=marks, **({"text_prompt": text} if text else {}))
        found = predictor.segment(PHOTO, Query("x", (*more, *prompts)))[0]
        assert found.area and {shape["label"] for shape in shapes} == {label}
        assert (drawn(shapes) ^ found.mask).mean() < 0.03


def test_parts_of_one_object_share_a_group(client: TestClient, predictor: Predictor) -> None:
    shapes = predict(client, marks=[{"type": "point", "data": [220, 150], "label": 1}])
    (instance,) = predictor.segment(PHOTO, PointPrompt(((220, 150),)))[0].instances
    assert len(shapes) == len(instance.polygons()) > 1
    assert {shape["group_id"] for shape in shapes} == {1}


def test_the_sliders_change_threshold_and_fineness(client: TestClient) -> None:
    everything = {shape["label"] for shape in predict(client, text_prompt="table,window,cat", conf_threshold=0.01)}
    assert everything > {shape["label"] for shape in predict(client, text_prompt="table,window,cat")}
    fine, coarse = (
        sum(len(shape["points"]) for shape in predict(client, text_prompt="table", epsilon_factor=factor))
        for factor in (0.0, 0.02)
    )
    assert coarse < fine


@pytest.mark.parametrize(
    ("params", "status", "code", "message"),
    [
        ({}, 422, "invalid_prompt", "give a text, a point or a rectangle"),
        ({"marks": [{"type": "point", "data": [1], "label": 1}]}, 422, "invalid_prompt", "a point is [x, y]"),
        ({"marks": [{"type": "circle", "data": [1, 2]}]}, 422, "invalid_request", "marks.0.type"),
        (
            {"marks": [{"type": "rectangle", "data": [1, 2, 30, 40], "label": 0}]},
            422,
            "invalid_prompt",
            "a rectangle says where the object is",
        ),
        (
            {"text_prompt": "a1, b2", "marks": [{"type": "point", "data": [9, 9]}]},
            422,
            "invalid_prompt",
            "marks belong to one phrase, not to 2",
        ),
        ({"marks": [{"type": "point", "data": [900, 9]}]}, 422, "outside_image", "outside"),
        ({"conf_threshold": 2}, 422, "invalid_request", "conf_threshold"),
    ],
)
def test_bad_requests(client: TestClient, params: dict[str, Any], status: int, code: str, message: str) -> None:
    got = read_refusal(client.post("/x-anylabeling/v1/predict", json=request(**params)))
    assert got[:2] == (status, code) and message in got[2]


def test_an_unknown_model_and_a_broken_image(client: TestClient) -> None:
    asked = request(text_prompt="cat")
    for change, expected in (
        ({"model": "sam9"}, (404, "unknown_model")),
        ({"image": "data:image/png;base64,?"}, (400, "malformed_request")),
        ({"image": "aGVsbG8="}, (422, "unreadable_image")),
    ):
        assert read_refusal(client.post("/x-anylabeling/v1/predict", json=asked | change))[:2] == expected
    assert read_refusal(client.get("/x-anylabeling/v1/models/sam9/info"))[:2] == (404, "unknown_model")
