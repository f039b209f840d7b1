"""The whole way with the real Label Studio: `make test-label-studio` installs it, and says here where it is."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from label_studio_world import INTERFACE, PASSWORD, USER, LabelStudio, recording
from live_server import LiveServer
from playwright.sync_api import Page, sync_playwright

import promptseg
from promptseg import BoxPrompt, PointPrompt, Predictor, QueryResult
from promptseg.image_files import bundled_image
from promptseg.server import PictureAccess, ServerSettings, create_app
from promptseg.server.label_studio.task_pictures import TaskPictures

pytestmark = pytest.mark.label_studio

PHOTO = bundled_image("chelsea")
SIZE_HW = (300, 451)
ENVIRONMENT = Path(os.environ.get("LABEL_STUDIO_VENV", ".venv-label-studio"))
DECODE = """
import json, sys
from label_studio_sdk.converter.brush import decode_rle
masks = [decode_rle(code).reshape(300, 451, 4)[:, :, 3] > 0 for code in json.load(sys.stdin)]
json.dump([mask.astype(int).tolist() for mask in masks], sys.stdout)
"""


@pytest.fixture(scope="module")
def model() -> Predictor:
    """The default model."""
    return promptseg.load()


@pytest.fixture(scope="module")
def label_studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabelStudio]:
    with LabelStudio(ENVIRONMENT.absolute() / "bin/label-studio", tmp_path_factory.mktemp("label-studio")) as running:
        yield running


class Connected:
    """A project with one picture in the real Label Studio, and a backend that it is connected to."""

    def __init__(self, label_studio: LabelStudio, model: Predictor) -> None:
        self.label_studio = label_studio
        self.requests: list[tuple[str, Any]] = []
        self.server = LiveServer(self.app(model))
        ask = label_studio.ask
        self.project: int = ask("POST", "/api/projects", json={"title": "promptseg", "label_config": INTERFACE})["id"]
        file = {"file": ("chelsea.jpg", PHOTO.read_bytes(), "image/jpeg")}
        assert ask("POST", f"/api/projects/{self.project}/import", files=file)["task_count"] == 1
        backend = {
            "project": self.project,
            "title": "promptseg",
            "url": f"{self.server.url}label-studio",
            "is_interactive": True,
            "auth_method": "BASIC_AUTH",
            "basic_auth_user": "promptseg",
            "basic_auth_pass": "s3cret",
        }
        self.backend = ask("POST", "/api/ml", json=backend)
        (task,) = ask("GET", f"/api/tasks?project={self.project}")["tasks"]
        self.task: int = task["id"]

    def app(self, model: Predictor) -> Any:
        access = PictureAccess(self.label_studio.url)
        app = create_app(model, ServerSettings(token="s3cret", label_studio=access))
        return recording(app, lambda path, body: self.requests.append((path, body)))

    def click(self, *rows: Any) -> list[Any]:
        """Ask as the page does; give the regions."""
        path = f"/api/ml/{self.backend['id']}/interactive-annotating"
        answer = self.label_studio.ask("POST", path, json={"task": self.task, "context": {"result": list(rows)}})
        assert not answer.get("errors"), answer
        return list(answer["data"]["result"])

    def retrieve(self) -> list[Any]:
        """Retrieve predictions; give those of the task."""
        path = f"/api/dm/actions?id=retrieve_tasks_predictions&project={self.project}"
        self.label_studio.ask("POST", path, json={"selectedItems": {"all": True, "excluded": []}})
        return list(self.label_studio.ask("GET", f"/api/tasks/{self.task}")["predictions"])


@pytest.fixture(scope="module")
def connected(label_studio: LabelStudio, model: Predictor) -> Iterator[Connected]:
    made = Connected(label_studio, model)
    yield made
    made.server.stop()


def decode_by_the_sdk(regions: list[Any]) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Decode brush strokes in Label Studio's own environment; shape (N, 300, 451)."""
    codes = json.dumps([region["value"]["rle"] for region in regions])
    done = subprocess.run(
        [ENVIRONMENT / "bin/python", "-c", DECODE], input=codes, capture_output=True, text=True, check=True
    )
    return np.array(json.loads(done.stdout), dtype=np.bool_)


def union(result: QueryResult) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """The pixels of all objects of a result."""
    return np.any([instance.mask for instance in result.instances], axis=0)


def row(kind: str, name: str, **value: Any) -> dict[str, Any]:
    size = {"original_width": 451, "original_height": 300, "image_rotation": 0}
    return {"type": kind, "from_name": name, "to_name": "image", "id": "a", "origin": "manual", "value": value, **size}


def point(x: float, y: float, label: str, *, is_positive: bool) -> dict[str, Any]:
    """A point in pixels."""
    value = {"x": x / 4.51, "y": y / 3, "width": 0.3, "keypointlabels": [label]}
    return row("keypointlabels", "point", **value) | {"is_positive": is_positive}


def test_it_connects(connected: Connected, model: Predictor) -> None:
    assert connected.backend["state"] == "CO" and connected.backend["model_version"] == model.origin


def test_a_personal_token_gives_pictures(connected: Connected) -> None:
    ask, url = connected.label_studio.ask, connected.label_studio.url
    reference = ask("GET", f"/api/tasks/{connected.task}")["data"]["image"]
    access = PictureAccess(url, api_key=ask("POST", "/api/token/")["token"])
    assert TaskPictures(access, max_bytes=1_000_000).read(reference) == PHOTO.read_bytes()


def test_points_of_both_signs(connected: Connected, model: Predictor) -> None:
    rows = (point(168, 115, "cat", is_positive=True), point(230, 200, "cat", is_positive=False))
    (region,) = connected.click(*rows)
    expected = model.segment(PHOTO, PointPrompt(((168, 115), (230, 200)), (True, False)))[0].mask
    (mask,) = decode_by_the_sdk([region])
    np.testing.assert_array_equal(mask, expected)
    assert region["value"]["brushlabels"] == ["cat"] and region["from_name"] == "brush"


def test_a_rectangle(connected: Connected, model: Predictor) -> None:
    (region,) = connected.click(row("rectanglelabels", "box", x=50, y=70, width=20, height=25, rectanglelabels=["ear"]))
    box = BoxPrompt((225.5, 210, 315.7, 285))
    np.testing.assert_array_equal(decode_by_the_sdk([region])[0], model.segment(PHOTO, box)[0].mask)


def test_a_text(connected: Connected, model: Predictor) -> None:
    regions = connected.click(row("textarea", "words", text=["the cat's ear"]))
    found = model.segment(PHOTO, ["the cat's ear"])[0]
    assert {region["value"]["brushlabels"][0] for region in regions} == {"ear"}
    np.testing.assert_array_equal(decode_by_the_sdk(regions).any(axis=0), union(found))


def test_predictions_are_retrieved_once_for_each_version(connected: Connected, model: Predictor) -> None:
    (first,) = connected.retrieve()
    found = model.segment(PHOTO, ["cat", "the cat's ear"])
    masks = decode_by_the_sdk(first["result"])
    for label, result in zip(("cat", "ear"), found, strict=True):
        mine = [region["value"]["brushlabels"] == [label] for region in first["result"]]
        np.testing.assert_array_equal(masks[np.array(mine)].any(axis=0), union(result))
    assert first["model_version"] == model.origin
    assert [each["id"] for each in connected.retrieve()] == [first["id"]], "this version has predicted the task"
    stricter = promptseg.load(threshold=0.9)
    connected.server.stop()
    connected.server.start(connected.app(stricter))
    versions = {each["model_version"] for each in connected.retrieve()}
    assert versions == {model.origin, stricter.origin}


def test_a_click_in_its_page(connected: Connected) -> None:
    """Its own page sends what the recorded bodies hold, and shows the answer."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1400, "height": 820})
        click_in_page(page, connected)
        browser.close()
    path, body = connected.requests[-1]
    expected = json.loads((Path(__file__).parent / "label_studio_requests/keypointlabels.json").read_text("utf-8"))
    assert path == "/label-studio/predict" and body.keys() == expected.keys()
    (sent,), (stored,) = body["params"]["context"]["result"], expected["params"]["context"]["result"]
    assert sent.keys() == stored.keys() and sent["value"].keys() == stored["value"].keys()


def click_in_page(page: Page, connected: Connected) -> None:
    """Log in, open the task with a new annotation, and click on the cat's ear with the smart point tool."""
    url = connected.label_studio.url
    page.goto(f"{url}/user/login")
    page.fill("input[name=email]", USER)
    page.fill("input[name=password]", PASSWORD)
    page.click("button[type=submit]")
    page.wait_for_url(f"{url}/**")
    page.goto(f"{url}/projects/{connected.project}/data?task={connected.task}")
    page.get_by_label("Create an annotation").click()
    page.get_by_text("Auto-Annotation").click()
    # the first of the smart tools is a brush, which sends nothing
    smart = page.locator(".lsf-tool_smart").first
    smart.click()
    smart.click()
    page.keyboard.press("4")
    canvas = page.locator("canvas").last.bounding_box()
    assert canvas is not None
    with page.expect_response("**/interactive-annotating"):
        page.mouse.click(canvas["x"] + canvas["width"] * 0.83, canvas["y"] + canvas["height"] * 0.14)
    page.get_by_text("1 suggestions").wait_for()
    if screenshot := os.environ.get("LABEL_STUDIO_SCREENSHOT"):
        page.mouse.move(5, 400)
        page.wait_for_timeout(1000)  # for what fades
        page.screenshot(path=screenshot)
