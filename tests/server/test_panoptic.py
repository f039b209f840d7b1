"""`/v1/panoptic` answers what the Python call answers."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from served_world import PHRASES, read_refusal

import promptseg
from promptseg import Predictor
from promptseg.image_files import bundled_image
from promptseg.ops.rle import decode_rle, encode_rle

NAMES = [*PHRASES, "wall [stuff]"]


def panoptic(client: TestClient, image_id: str, **request: Any) -> dict[str, Any]:
    answer = client.post("/v1/panoptic", json={"image": image_id, **request})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"unlabelled": "fill"},
        {"stuff": ["table"], "min_score": 0.1, "min_area": 10},
        {"unlabelled": "fill", "min_area": 0},
    ],
)
def test_a_map_is_that_of_the_python_call(
    client: TestClient, image_id: str, predictor: Predictor, options: dict[str, Any]
) -> None:
    found = predictor.panoptic(bundled_image("chelsea"), NAMES, **options)
    answer = panoptic(client, image_id, names=NAMES, **options)
    said = found.to_dict()
    for name in ("model", "fingerprint", "size_hw", "presence_threshold", "unlabelled", "unlabelled_share"):
        assert answer[name] == said[name], name
    assert answer["classes"] == said["classes"] and answer["segments"] == said["segments"]
    covered = np.zeros(found.size_hw, dtype=np.int64)
    for segment in answer["segments"]:
        covered += decode_rle(segment["mask"])
    np.testing.assert_array_equal(covered, found.segment_ids > 0)
    if options.get("unlabelled") == "fill":
        assert answer["segments"] and answer["unlabelled_share"] == 0


@pytest.mark.parametrize("form", ["box", "mask"])
def test_a_map_of_a_region_is_that_of_the_python_call(
    client: TestClient, photo: bytes, predictor: Predictor, form: str
) -> None:
    image_id = client.put("/v1/images?encode=false", content=photo).json()["id"]
    drawn = np.zeros((300, 451), dtype=np.bool_)
    drawn[60:240, 100:320] = drawn[200:280, 300:400] = True
    region: Any = (100, 40, 320, 260) if form == "box" else drawn
    within = {"box_xyxy": list(region)} if form == "box" else {"mask": encode_rle(drawn)}
    found = predictor.panoptic(bundled_image("chelsea"), NAMES, unlabelled="fill", min_area=0, within=region)
    answer = panoptic(client, image_id, names=NAMES, unlabelled="fill", min_area=0, within=within)
    assert answer["segments"] == found.to_dict()["segments"] != []
    assert answer["unlabelled_share"] == found.to_dict()["unlabelled_share"] > 0.3, "outside the region"
    assert not client.get(f"/v1/images/{image_id}").json()["is_encoded"], "nothing but the region was encoded"


def test_a_model_without_words_has_no_maps(serve: Callable[..., TestClient], photo: bytes) -> None:
    client = serve(promptseg.load("sam-test", engine="torch"))
    (model,) = client.get("/v1/models").json()["models"]
    assert model["can_panoptic"] is False and model["can_propose"] is True
    image_id = client.put("/v1/images", content=photo).json()["id"]
    got = read_refusal(client.post("/v1/panoptic", json={"image": image_id, "names": ["cat"]}))
    assert got[:2] == (422, "unsupported_prompt") and "no text prompts" in got[2]


def test_names_may_be_left_out(client: TestClient, image_id: str) -> None:
    answer = panoptic(client, image_id, masks="none", mask_long_side=100)
    assert len(answer["classes"]) > 20 and answer["mask_size_hw"] == [67, 100]
    assert all("mask" not in segment for segment in answer["segments"])


@pytest.mark.parametrize(
    ("request_", "status", "code", "message"),
    [
        ({"names": []}, 422, "invalid_prompt", ""),
        ({"names": ["cat", "cat"]}, 422, "invalid_prompt", "cat"),
        ({"names": ["x"] * 2_000}, 413, "too_many_queries", "2,000 queries in one request; the limit is 1,000"),
        ({"names": ["cat"], "min_score": 2}, 422, "invalid_request", "min_score"),
        ({"names": ["cat"], "unlabelled": "drop"}, 422, "invalid_request", "unlabelled"),
        ({"names": ["cat"], "within": {}}, 422, "invalid_prompt", "give one of them"),
        ({"names": ["cat"], "within": {"box_xyxy": [900, 900, 950, 950]}}, 422, "outside_image", "451x300"),
        ({"names": ["cat"], "image": "0" * 32}, 404, "image_not_found", "no image"),
    ],
)
def test_bad_requests(
    client: TestClient, image_id: str, request_: dict[str, Any], status: int, code: str, message: str
) -> None:
    got = read_refusal(client.post("/v1/panoptic", json={"image": image_id, **request_}))
    assert got[:2] == (status, code) and message in got[2]
