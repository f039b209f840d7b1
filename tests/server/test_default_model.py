"""The default model behind the server: its answers are those of the Python call, and they make sense."""

from collections.abc import Callable

import pytest
from fastapi.testclient import TestClient

import promptseg
from promptseg import PointPrompt, Predictor, Query, TextPrompt
from promptseg.image_files import bundled_image

CLICK = {"kind": "point", "points_xy": [[230, 150]]}


@pytest.fixture(scope="module")
def default() -> Predictor:
    return promptseg.load()


def test_words_and_clicks_find_the_cat(serve: Callable[..., TestClient], default: Predictor, photo: bytes) -> None:
    client = serve(default)
    image_id = client.put("/v1/images", content=photo).json()["id"]
    queries = ["cat", "airplane", {"label": "it", "prompts": [CLICK, {"kind": "text", "text": "cat"}]}]
    answer = client.post("/v1/segment", json={"image": image_id, "queries": queries}).json()
    asked = ["cat", "airplane", Query("it", (PointPrompt(((230, 150),)), TextPrompt("cat")))]
    found = default.segment(bundled_image("chelsea"), asked)
    assert [each["mask"] for each in answer["results"]] == [each.to_rle() for each in found]
    cat, airplane, clicked = answer["results"]
    assert cat["status"] == "present" and airplane["status"] == "absent"
    assert cat["area"] > 0.3 * 300 * 451 and clicked["area"] > 0.3 * 300 * 451
    assert [each["score"] for each in cat["instances"]] == [round(each.score, 6) for each in found[0].instances]


def test_a_click_has_three_candidates(serve: Callable[..., TestClient], default: Predictor, photo: bytes) -> None:
    client = serve(default)
    image_id = client.put("/v1/images", content=photo).json()["id"]
    answer = client.post("/v1/propose", json={"image": image_id, "query": {"label": "it", "prompts": [CLICK]}}).json()
    areas = [each["area"] for each in answer["results"]]
    assert len(areas) == 3 and min(areas) > 0
