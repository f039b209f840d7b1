"""The backend of Label Studio, asked by what its page and server sent: `label_studio_requests` holds recorded bodies.

They were recorded from label-studio 1.23.2 with the bundled cat; brush strokes of earlier answers are cut short.
"""

import base64
import copy
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from live_server import LiveServer
from numpy.typing import NDArray
from served_world import read_refusal

from promptseg import BoxPrompt, PointPrompt, Predictor, Query, TextPrompt
from promptseg.errors import PromptError
from promptseg.formats.brush_rle import decode_brush
from promptseg.image_files import bundled_image
from promptseg.ops.polygons import fill_rings
from promptseg.server import PictureAccess

RECORDED = Path(__file__).parent / "label_studio_requests"
PHOTO = bundled_image("chelsea")
SIZE_HW = (300, 451)
TABLE, PET = '<Label value="table"/>', '<Label value="pet" predicted_values="dog, cat"/>'


def recorded(name: str) -> Any:
    body = json.loads((RECORDED / f"{name}.json").read_text(encoding="utf-8"))
    for task in body.get("tasks", ()):
        task["data"]["image"] = data_uri()
    return body


def data_uri() -> str:
    return f"data:image/jpeg;base64,{base64.b64encode(PHOTO.read_bytes()).decode()}"


def interface(*controls: str) -> str:
    return f'<View><Image name="image" value="$image"/>{"".join(controls)}</View>'


def control(kind: str, labels: str, name: str = "label", attributes: str = "") -> str:
    return f'<{kind} name="{name}" toName="image" {attributes}>{labels}</{kind}>'


def predict(client: TestClient, body: Any) -> list[Any]:
    answer = client.post("/label-studio/predict", json=body)
    assert answer.status_code == 200, answer.text
    return list(answer.json()["results"])


def retrieve(client: TestClient, label_config: str) -> list[Any]:
    """Predict the recorded task with another interface; give its regions."""
    ((answer),) = predict(client, recorded("retrieve") | {"label_config": label_config})
    return list(answer["result"])


def drawn(region: Any) -> NDArray[np.bool_]:
    """The mask of a region, read as Label Studio reads it."""
    value, (height, width) = region["value"], SIZE_HW
    assert (region["original_height"], region["original_width"]) == SIZE_HW and region["image_rotation"] == 0
    match region["type"]:
        case "brushlabels":
            assert value["format"] == "rle"
            return decode_brush(value["rle"], SIZE_HW)
        case "polygonlabels":
            assert value["closed"] is True
            return fill_rings([np.array(value["points"]) * (width, height) / 100], SIZE_HW)
        case _:
            mask = np.zeros(SIZE_HW, dtype=np.bool_)
            left, top = round(value["x"] * width / 100), round(value["y"] * height / 100)
            right, bottom = left + round(value["width"] * width / 100), top + round(value["height"] * height / 100)
            mask[top:bottom, left:right] = True
            return mask


def test_it_is_up_before_its_model_is(client: TestClient) -> None:
    for path in ("/label-studio", "/label-studio/health"):
        assert client.get(path).json() == {"status": "UP", "model_class": "promptseg"}


def test_setup_names_the_checkpoint_and_threshold(client: TestClient, predictor: Predictor) -> None:
    version = client.post("/label-studio/setup", json=recorded("setup")).json()["model_version"]
    assert version == predictor.origin and predictor.fingerprint in version and "0.5" in version
    assert client.get("/label-studio/versions").json() == {"versions": [version]}
    assert predict(client, recorded("retrieve"))[0]["model_version"] == version, "so that it skips what is up to date"


def test_retrieved_predictions_are_those_of_the_python_call(client: TestClient, predictor: Predictor) -> None:
    found = predictor.segment(PHOTO, ["table", "window"])
    regions = retrieve(client, interface(control("BrushLabels", TABLE + '<Label value="window"/>')))
    expected = [(result.label, each) for result in found if result.is_present for each in result.instances]
    assert expected and len(regions) == len(expected)
    assert len({region["id"] for region in regions}) == len(regions)
    for label, instance in expected:
        (mine,) = [region for region in regions if (drawn(region) == instance.mask).all()]
        assert mine["value"]["brushlabels"] == [label] and mine["score"] == pytest.approx(instance.score)
        assert (mine["from_name"], mine["to_name"]) == ("label", "image")


@pytest.mark.parametrize("kind", ["BrushLabels", "PolygonLabels", "RectangleLabels"])
def test_each_kind_of_region(client: TestClient, predictor: Predictor, kind: str) -> None:
    instances = predictor.segment(PHOTO, ["table"])[0].instances
    regions = retrieve(client, interface(control(kind, TABLE)))
    assert {region["type"] for region in regions} == {kind.lower()} and len(regions) == len(instances)
    best = max(instances, key=lambda each: each.score)
    mask = best.mask
    if kind == "RectangleLabels":
        left, top, right, bottom = best.box_xyxy
        mask = np.zeros(SIZE_HW, dtype=np.bool_)
        mask[top:bottom, left:right] = True
    assert (drawn(regions[0]) ^ mask).mean() < (0.03 if kind == "PolygonLabels" else 1e-9)


def test_a_label_is_asked_for_by_its_predicted_values_and_goes_by_its_alias(
    client: TestClient, predictor: Predictor
) -> None:
    aliased = '<Label value="view" alias="v" predicted_values="cat, cat "/>'
    regions = retrieve(client, interface(control("BrushLabels", aliased)))
    instances = predictor.segment(PHOTO, ["cat"])[0].instances
    assert {region["value"]["brushlabels"][0] for region in regions} == {"v"}
    assert len(regions) == len(instances), "what two phrases of a label find alike is written once"


def test_a_smart_rectangle_asks_and_gets_nothing_unless_it_is_alone(client: TestClient) -> None:
    smart = control("RectangleLabels", TABLE, "box", 'smart="true"')
    both = retrieve(client, interface(smart, control("PolygonLabels", TABLE)))
    assert {region["from_name"] for region in both} == {"label"}
    assert {region["from_name"] for region in retrieve(client, interface(smart))} == {"box"}


def test_a_control_may_have_a_threshold_of_its_own(client: TestClient) -> None:
    def count(threshold: str) -> int:
        strict = control("BrushLabels", TABLE, attributes=f'model_score_threshold="{threshold}"')
        return len(retrieve(client, interface(strict)))

    assert count("0") > 0 == count("1")


@pytest.mark.parametrize("name", ["keypointlabels", "rectanglelabels"])
def test_what_the_page_sends_for_a_click_and_a_rectangle(client: TestClient, predictor: Predictor, name: str) -> None:
    body = recorded(name)
    ((answer),) = predict(client, body)
    (asked,) = body["params"]["context"]["result"]
    x, y = asked["value"]["x"] * 4.51, asked["value"]["y"] * 3
    right, bottom = x + asked["value"]["width"] * 4.51, y + asked["value"].get("height", 0) * 3
    prompt = PointPrompt(((x, y),)) if name == "keypointlabels" else BoxPrompt((x, y, right, bottom))
    (instance,) = predictor.segment(PHOTO, prompt)[0].instances
    (region,) = answer["result"]
    assert region["value"]["brushlabels"] == asked["value"][name] and region["from_name"] == "brush"
    np.testing.assert_array_equal(drawn(region), instance.mask)


def test_points_of_both_signs_mean_one_object(client: TestClient, predictor: Predictor) -> None:
    body = recorded("keypointlabels")
    rows = body["params"]["context"]["result"]
    beside = copy.deepcopy(rows[0]) | {"is_positive": False}
    beside["value"] |= {"x": 5.0, "y": 5.0}
    rows.append(beside)
    points = PointPrompt(tuple((row["value"]["x"] * 4.51, row["value"]["y"] * 3) for row in rows), (True, False))
    (region,) = predict(client, body)[0]["result"]
    np.testing.assert_array_equal(drawn(region), predictor.segment(PHOTO, points)[0].mask)


def ask_text(client: TestClient, text: str, label_config: str) -> list[Any]:
    body = recorded("textarea") | {"label_config": label_config}
    body["params"]["context"]["result"][0]["value"]["text"] = [text]
    return list(predict(client, body)[0]["result"])


def test_what_the_page_sends_for_a_text(client: TestClient, predictor: Predictor) -> None:
    assert predict(client, recorded("textarea"))[0]["result"] == [], "the tiny model sees no ear of a cat"
    labels = interface(control("BrushLabels", TABLE + PET))
    for text, expected in (("Table", {"table"}), ("cat, table", {"table", "pet"})):
        regions = ask_text(client, text, labels)
        assert {region["value"]["brushlabels"][0] for region in regions} == expected
    alone = ask_text(client, "cat", interface(control("BrushLabels", '<Label value="thing"/>')))
    assert len(alone) == len(predictor.segment(PHOTO, ["cat"])[0].instances)
    assert {region["value"]["brushlabels"][0] for region in alone} == {"thing"}


def test_a_phrase_and_a_click_of_one_label_are_one_query(client: TestClient, predictor: Predictor) -> None:
    body = recorded("keypointlabels") | {"label_config": interface(control("BrushLabels", '<Label value="cat"/>'))}
    words = recorded("textarea")["params"]["context"]["result"][0] | {"value": {"text": "table"}}
    (point,) = body["params"]["context"]["result"]
    body["params"]["context"]["result"].append(words)
    where = PointPrompt(((point["value"]["x"] * 4.51, point["value"]["y"] * 3),))
    found = predictor.segment(PHOTO, Query("cat", (TextPrompt("table"), where)))[0]
    assert [drawn(region).sum() for region in predict(client, body)[0]["result"]] == [found.area]


def test_nothing_asked_is_nothing_found(client: TestClient) -> None:
    body = recorded("keypointlabels")
    body["params"]["context"]["result"] = []
    assert predict(client, body)[0]["result"] == []


def test_webhooks_are_taken_note_of(client: TestClient) -> None:
    assert client.post("/label-studio/webhook", json={"action": "ANNOTATION_CREATED"}).status_code == 201


# Pictures --------------------------------------------------------------------------------------------------------


class Host:
    """Stands for Label Studio: serves the cat, and notes what it is asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, str]] = []
        self._server = LiveServer(self)
        self.url = self._server.url

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        while (await receive()).get("more_body", False):  # an answer before the end of a body resets the connection
            pass
        headers = {key.decode(): value.decode() for key, value in scope["headers"]}
        self.asked.append((scope["method"], scope["raw_path"].decode(), headers.get("authorization", "")))
        status, body, more = 404, b"", []
        if scope["path"] == "/api/token/refresh":
            status, body = 200, b'{"access": "short-lived"}'
        elif scope["path"].endswith("/redirect.jpg"):
            status, more = 302, [(b"location", f"{self.url}data/upload/1/cat.jpg".encode())]
        elif scope["path"].endswith("/cat 1.jpg"):
            known = headers.get("authorization") in ("Token sent-along", "Bearer short-lived")
            status, body = (200, PHOTO.read_bytes()) if known else (401, b"")
        await send({"type": "http.response.start", "status": status, "headers": more})
        await send({"type": "http.response.body", "body": body})

    def stop(self) -> None:
        self._server.stop()


@pytest.fixture
def host() -> Any:
    running = Host()
    yield running
    running.stop()


def task_with(image: Any) -> Any:
    body = recorded("retrieve") | {"label_config": interface(control("BrushLabels", TABLE))}
    body["tasks"][0]["data"]["image"] = image
    return body


def refuse(client: TestClient, body: Any) -> tuple[int, str, str]:
    return read_refusal(client.post("/label-studio/predict", json=body))


def test_uploads_are_fetched_from_the_operators_address_with_the_token_that_was_sent(
    serve: Callable[..., TestClient], host: Host
) -> None:
    client = serve(label_studio=PictureAccess(host.url))
    assert refuse(client, task_with("/data/upload/1/cat%201.jpg"))[:2] == (422, "picture_not_served")
    client.post("/label-studio/setup", json=recorded("setup") | {"access_token": "sent-along"})
    for image in ("/data/upload/1/cat%201.jpg", f"{host.url}data/upload/1/cat 1.jpg"):
        assert predict(client, task_with(image))[0]["result"]
    assert host.asked[-1] == ("GET", "/data/upload/1/cat%201.jpg", "Token sent-along")


def test_a_personal_token_buys_a_short_lived_one(serve: Callable[..., TestClient], host: Host) -> None:
    client = serve(label_studio=PictureAccess(host.url, api_key="aa.bb.cc"))
    assert predict(client, task_with("/data/upload/1/cat%201.jpg"))[0]["result"]
    assert [each[:2] for each in host.asked] == [("POST", "/api/token/refresh"), ("GET", "/data/upload/1/cat%201.jpg")]


@pytest.mark.parametrize(
    ("image", "message"),
    [
        ("/data/upload/1/missing.jpg", "does not give the picture (404)"),
        ("/data/upload/1/redirect.jpg", "from another address"),
        ("/api/users/", "neither a data URI nor a file of Label Studio"),
        ("/data/upload/../../api/users", "neither a data URI nor a file"),
        ("/data/upload/%2e%2e/%2e%2e/api/users", "neither a data URI nor a file"),
        ("http://169.254.169.254/data/upload/1/cat.jpg", "neither a data URI nor a file"),
        ("//example.com/data/cat.jpg", "neither a data URI nor a file"),
        ("s3://bucket/cat.jpg", "neither a data URI nor a file"),
        ("file:///etc/passwd", "neither a data URI nor a file"),
        ("/etc/passwd", "neither a data URI nor a file"),
        ("data:image/png;base64,?", "is no base64"),
        ("", "no picture in its field 'image'"),
        (["/data/upload/1/cat.jpg"], "no picture in its field 'image'"),
    ],
)
def test_pictures_that_are_not_served(serve: Callable[..., TestClient], host: Host, image: Any, message: str) -> None:
    got = refuse(serve(label_studio=PictureAccess(host.url)), task_with(image))
    assert got[:2] == (422, "picture_not_served") and message in got[2]
    assert all(path.startswith("/data/upload/1/") for _, path, _ in host.asked)


def test_without_an_address_nothing_is_fetched(client: TestClient) -> None:
    got = refuse(client, task_with("/data/upload/1/cat.jpg"))
    assert got[:2] == (422, "picture_not_served") and "whose address this server does not know" in got[2]


def test_a_label_studio_that_is_not_there(serve: Callable[..., TestClient], host: Host) -> None:
    client = serve(label_studio=PictureAccess(host.url))
    host.stop()
    got = refuse(client, task_with("/data/upload/1/cat.jpg"))
    assert got[:2] == (502, "label_studio_unreachable") and "can't be fetched" in got[2]


def test_local_files_lie_below_the_operators_directory(serve: Callable[..., TestClient], tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "images").mkdir(parents=True)
    (root / "images" / "a cat.jpg").write_bytes(PHOTO.read_bytes())
    (tmp_path / "secret.jpg").write_bytes(PHOTO.read_bytes())
    (root / "link.jpg").symlink_to(tmp_path / "secret.jpg")
    client = serve(label_studio=PictureAccess(files_root=root))
    address = "/data/local-files/?d="
    assert predict(client, task_with(f"{address}images/a%20cat.jpg"))[0]["result"]
    for path in ("../secret.jpg", "%2e%2e/secret.jpg", str(tmp_path / "secret.jpg"), "link.jpg", "images", "a%00b", ""):
        got = refuse(client, task_with(address + path))
        assert got[:2] == (422, "picture_not_served") and "there is no file" in got[2]


def test_pictures_that_are_too_large_or_none(serve: Callable[..., TestClient], tmp_path: Path) -> None:
    (tmp_path / "large.jpg").write_bytes(bytes(300_000))
    (tmp_path / "text.jpg").write_bytes(b"hello")
    client = serve(max_body_bytes=200_000, label_studio=PictureAccess(files_root=tmp_path))
    assert refuse(client, task_with("/data/local-files/?d=large.jpg"))[:2] == (413, "image_too_large")
    assert refuse(client, task_with("/data/local-files/?d=text.jpg"))[:2] == (422, "unreadable_image")


def test_one_bad_task_of_several_costs_no_other_its_prediction(
    client: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    body = task_with(data_uri())
    bad = copy.deepcopy(body["tasks"][0]) | {"id": 7, "data": {"image": "s3://bucket/my-secret.jpg"}}
    body["tasks"] = [bad, *body["tasks"]]
    with caplog.at_level(logging.WARNING):
        first, second = predict(client, body)
    assert first == [] and second["result"], "Label Studio stores no prediction for an empty list"
    assert "task 7: picture_not_served; upload the pictures" in caplog.text and "my-secret" not in caplog.text


@pytest.mark.parametrize(
    "access", [{"url": "ftp://host"}, {"url": "localhost:8080"}, {"files_root": Path("/no/such/folder")}]
)
def test_an_operator_is_told_what_is_wrong(access: dict[str, Any]) -> None:
    with pytest.raises(PromptError, match=r"address is like|no directory"):
        PictureAccess(**access)
    assert "secret" not in repr(PictureAccess("http://host", api_key="secret"))


# Interfaces and contexts that do not fit ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("label_config", "code", "message"),
    [
        ("<View>", "invalid_request", "no well-formed XML"),
        ('<!DOCTYPE x [<!ENTITY a "b">]><View>&a;</View>', "invalid_request", "holds a declaration"),
        ("<View/>", "no_matching_control", "has no BrushLabels, PolygonLabels or RectangleLabels"),
        (interface(control("EllipseLabels", TABLE)), "no_matching_control", "has no BrushLabels"),
        (interface(control("BrushLabels", "")), "no_matching_control", "with labels for an Image"),
        (
            '<View><BrushLabels name="a" toName="text"><Label value="b"/></BrushLabels></View>',
            "no_matching_control",
            "",
        ),
        (
            interface(control("BrushLabels", TABLE, attributes='model_score_threshold="high"')),
            "invalid_request",
            "model_score_threshold of 'label' is no number from 0 to 1",
        ),
        (interface(control("BrushLabels", '<Label value="..."/>')), "invalid_prompt", "no letter or digit"),
    ],
)
def test_interfaces_that_do_not_fit(client: TestClient, label_config: str, code: str, message: str) -> None:
    got = refuse(client, recorded("retrieve") | {"label_config": label_config})
    assert got[:2] == (422, code) and message in got[2]


def change_context(name: str, **changes: Any) -> Any:
    body = recorded(name)
    (row,) = body["params"]["context"]["result"]
    row["value"] |= changes.pop("value", {})
    row |= changes
    return body


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        (change_context("keypointlabels", value={"keypointlabels": ["dog"]}), "no_matching_control", "the label 'dog'"),
        (change_context("keypointlabels", image_rotation=90), "invalid_prompt", "shown rotated"),
        (change_context("keypointlabels", value={"x": 120}), "outside_image", "outside the image"),
        (change_context("keypointlabels", value={"x": "NaN"}), "invalid_request", "finite number"),
        (change_context("rectanglelabels", value={"rotation": 30}), "invalid_prompt", "a rotated rectangle is no box"),
        (change_context("rectanglelabels", value={"width": 0}), "invalid_prompt", "left < right"),
        (change_context("keypointlabels", type="brushlabels"), "invalid_prompt", "'brushlabels' ask for nothing here"),
        (change_context("textarea", value={"text": ["a dog"]}), "no_matching_control", "stands for the phrase 'a dog'"),
    ],
)
def test_contexts_that_do_not_fit(client: TestClient, body: Any, code: str, message: str) -> None:
    got = refuse(client, body)
    assert got[:2] == (422, code) and message in got[2]


def test_a_context_belongs_to_one_task(client: TestClient) -> None:
    body = recorded("keypointlabels")
    body["tasks"] *= 2
    assert refuse(client, body)[:2] == (422, "invalid_request")


def test_the_token_is_the_password_of_basic_authentication(serve: Callable[..., TestClient]) -> None:
    client = serve(token="s3cret")
    assert client.post("/label-studio/setup", json=recorded("setup"), auth=("any", "s3cret")).status_code == 200
    assert client.get("/label-studio/health", auth=("any", "wrong")).status_code == 401
