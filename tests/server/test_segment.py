"""`/v1/segment` and `/v1/propose` answer what the Python call answers."""

import base64
import io
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from numpy.typing import NDArray
from PIL import Image
from served_world import PHRASES

from promptseg import BoxPrompt, ExemplarPrompt, MaskPrompt, PointPrompt, Predictor, Query, Segmentation, TextPrompt
from promptseg.image_files import bundled_image
from promptseg.images import read_image
from promptseg.ops.polygons import fill_rings
from promptseg.ops.rle import decode_rle, encode_rle

SIZE_HW = (300, 451)
DRAWN = np.zeros(SIZE_HW, dtype=np.bool_)
DRAWN[100:200, 150:300] = True

POINTS = {"kind": "point", "points_xy": [[220, 150], [20, 20]], "on_object": [True, False]}
BOX = {"kind": "box", "box_xyxy": [100, 50, 300, 250]}
MASK = {"kind": "mask", "mask": encode_rle(DRAWN)}
ASKED = [
    "table",
    {"label": "weighed", "prompts": [{"kind": "text", "text": "table"}, {"kind": "text", "text": "cat", "weight": -1}]},
    {"label": "clicked", "prompts": [POINTS]},
    {"label": "boxed", "prompts": [BOX]},
    {"label": "drawn", "prompts": [MASK]},
    {"label": "both", "prompts": [{"kind": "text", "text": "table"}, {"kind": "point", "points_xy": [[220, 150]]}]},
]
QUERIES = [
    "table",
    Query("weighed", (TextPrompt("table"), TextPrompt("cat", -1.0))),
    Query("clicked", (PointPrompt(((220, 150), (20, 20)), (True, False)),)),
    Query("boxed", (BoxPrompt((100, 50, 300, 250)),)),
    Query("drawn", (MaskPrompt(DRAWN),)),
    Query("both", (TextPrompt("table"), PointPrompt(((220, 150),)))),
]


@pytest.fixture(scope="module")
def expected(predictor: Predictor) -> Segmentation:
    return predictor.segment(predictor.encode(bundled_image("chelsea")), QUERIES)


def segment(client: TestClient, image_id: str, queries: Any = ASKED, **options: Any) -> dict[str, Any]:
    answer = client.post("/v1/segment", json={"image": image_id, "queries": queries, **options})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def decode_png(form: dict[str, Any]) -> NDArray[np.bool_]:
    image = Image.open(io.BytesIO(base64.b64decode(form["png"])))
    assert image.mode == "1"
    return np.asarray(image)


def test_every_kind_of_prompt_gets_the_answer_of_the_python_call(
    client: TestClient, image_id: str, expected: Segmentation
) -> None:
    answer = segment(client, image_id)
    assert answer["seconds"].keys() == {"wait", "segment", "masks"}
    said = expected.to_dict()
    for result in said["results"]:
        assert result.pop("read_as") is None
    for result in answer["results"]:
        result.pop("area")
        for instance in result["instances"]:
            instance.pop("area")
    for name in ("model", "fingerprint", "size_hw", "presence_threshold", "mask_threshold", "results"):
        assert answer[name] == said[name], name
    assert sum(result.area for result in expected) > 0, "something is found"


def test_an_exemplar_may_be_stored_or_come_with_the_request(
    client: TestClient, image_id: str, predictor: Predictor
) -> None:
    coffee = bundled_image("coffee").read_bytes()
    stored = client.put("/v1/images?encode=false", content=coffee).json()["id"]
    box = (180.0, 40.0, 400.0, 280.0)
    found = predictor.segment(
        bundled_image("chelsea"), Query("like", (ExemplarPrompt(read_image(coffee), None, box),)), threshold=0
    )
    for reference in (stored, {"base64": base64.b64encode(coffee).decode()}):
        prompt = {"kind": "exemplar", "image": reference, "box_xyxy": box}
        answer = segment(client, image_id, [{"label": "like", "prompts": [prompt]}], threshold=0)
        assert answer["results"][0]["mask"] == found[0].to_rle()
        assert answer["results"][0]["presence"] == round(found[0].presence, 6)


def test_a_image_may_come_with_the_request_and_is_stored(client: TestClient, photo: bytes, image_id: str) -> None:
    encoded = base64.b64encode(photo).decode()
    for text in (encoded, f"data:image/jpeg;base64,{encoded}"):
        answer = client.post("/v1/segment", json={"image": {"base64": text}, "queries": ["table"]}).json()
        assert answer["image"] == image_id
        assert answer["results"] == segment(client, image_id, ["table"])["results"]


def test_thresholds_are_those_of_the_request(client: TestClient, image_id: str, predictor: Predictor) -> None:
    own = segment(client, image_id, list(PHRASES))
    assert {result["is_present"] for result in own["results"]} == {True, False}
    every = segment(client, image_id, list(PHRASES), threshold=0)
    assert all(result["is_present"] for result in every["results"])
    assert [result["presence"] for result in every["results"]] == [result["presence"] for result in own["results"]]
    found = predictor.segment(bundled_image("chelsea"), PHRASES, threshold=0, mask_threshold=0.9)
    strict = segment(client, image_id, list(PHRASES), threshold=0, mask_threshold=0.9)
    assert strict["mask_threshold"] == 0.9
    assert [result["mask"] for result in strict["results"]] == [result.to_rle() for result in found]


def test_what_the_model_is_unsure_of_is_said(
    serve: Callable[..., TestClient], predictor: Predictor, photo: bytes
) -> None:
    client = serve(replace(predictor, unsure_threshold=0.3))
    image_id = client.put("/v1/images", content=photo).json()["id"]
    (model,) = client.get("/v1/models").json()["models"]
    assert (model["presence_threshold"], model["unsure_threshold"]) == (0.5, 0.3)
    answer = segment(client, image_id, list(PHRASES))
    assert answer["unsure_threshold"] == 0.3
    for result in answer["results"]:
        presence = result["presence"]
        assert result["status"] == ("present" if presence >= 0.5 else "unsure" if presence >= 0.3 else "absent")
    assert {result["status"] for result in answer["results"]} == {"present", "unsure", "absent"}
    every = segment(client, image_id, list(PHRASES), threshold=0)
    assert "unsure_threshold" not in every and {each["status"] for each in every["results"]} == {"present"}


def test_masks_come_in_the_form_and_size_that_was_asked_for(
    client: TestClient, image_id: str, expected: Segmentation
) -> None:
    full = segment(client, image_id, masks="png")
    for result, form in zip(expected, full["results"], strict=True):
        np.testing.assert_array_equal(decode_png(form["mask"]), result.mask)
        for instance, each in zip(result.instances, form["instances"], strict=True):
            np.testing.assert_array_equal(decode_png(each["mask"]), instance.mask)
    small = segment(client, image_id, mask_long_side=150)
    assert small["mask_size_hw"] == [100, 150] and small["size_hw"] == [300, 451]
    for large, form in zip(full["results"], small["results"], strict=True):
        assert form["mask"]["size"] == [100, 150]
        assert abs(decode_rle(form["mask"]).mean() - decode_png(large["mask"]).mean()) < 0.02
        # areas and boxes stay in pixels of the image, which they are measured in steps of three
        assert abs(form["area"] - large["area"]) < 0.02 * 300 * 451
        assert len(form["instances"]) == len(large["instances"])
        for one, other in zip(form["instances"], large["instances"], strict=True):
            assert one["score"] == pytest.approx(other["score"], abs=0.02)
            assert one["box_xyxy"] == pytest.approx(other["box_xyxy"], abs=4)
    assert segment(client, image_id, mask_long_side=5000)["mask_size_hw"] == [300, 451], "never enlarged"
    none = segment(client, image_id, masks="none")
    assert all("mask" not in each for result in none["results"] for each in (result, *result["instances"]))
    assert all("instances" not in result for result in segment(client, image_id, instances=False)["results"])


@pytest.mark.parametrize("long_side", [None, 150])
def test_polygons_are_in_pixels_of_the_image(
    client: TestClient, image_id: str, expected: Segmentation, long_side: int | None
) -> None:
    answer = segment(client, image_id, masks="polygons", mask_long_side=long_side)
    for result, form in zip(expected, answer["results"], strict=True):
        polygons = form["mask"]["polygons"]
        drawn = fill_rings([ring for each in polygons for ring in (each["outer"], *each["holes"])], SIZE_HW)
        assert (drawn ^ result.mask).mean() < 0.03


def test_a_mask_of_an_answer_can_be_sent_back_at_display_size(client: TestClient, image_id: str) -> None:
    sizes = []
    for long_side in (None, 225):
        mask = segment(client, image_id, [ASKED[2]], mask_long_side=long_side)["results"][0]["mask"]
        prompts = [{"kind": "mask", "mask": mask}, {"kind": "point", "points_xy": [[220, 150]]}]
        sizes.append(segment(client, image_id, [{"label": "again", "prompts": prompts}])["results"][0]["area"])
    png = io.BytesIO()
    Image.fromarray(DRAWN).save(png, format="PNG")
    prompt = {"kind": "mask", "mask": {"png": base64.b64encode(png.getvalue()).decode()}}
    as_png = segment(client, image_id, [{"label": "drawn", "prompts": [prompt]}])
    assert as_png["results"][0]["mask"] == segment(client, image_id, [ASKED[4]])["results"][0]["mask"]
    assert abs(sizes[0] - sizes[1]) < 0.05 * 300 * 451


def test_plain_runs_are_a_mask_too(client: TestClient, image_id: str) -> None:
    runs: list[int] = []
    value = False
    for pixel in DRAWN.T.ravel():
        if pixel == value and runs:
            runs[-1] += 1
        else:
            runs.append(1)
        value = bool(pixel)
    prompt = {"kind": "mask", "mask": {"size": list(SIZE_HW), "counts": runs}}
    plain = segment(client, image_id, [{"label": "drawn", "prompts": [prompt]}])
    assert plain["results"] == segment(client, image_id, [ASKED[4]])["results"]


def test_proposals_are_those_of_the_python_call(client: TestClient, image_id: str, predictor: Predictor) -> None:
    query = {"label": "thing", "prompts": [{"kind": "point", "points_xy": [[220, 150]]}]}
    answer = client.post("/v1/propose", json={"image": image_id, "query": query}).json()
    found = predictor.propose(bundled_image("chelsea"), Query("thing", (PointPrompt(((220, 150),)),)))
    assert [result["mask"] for result in answer["results"]] == [result.to_rle() for result in found]
    qualities = [result["instances"][0]["mask_quality"] for result in answer["results"]]
    assert len(qualities) == 3 and qualities == sorted(qualities, reverse=True)


def test_proposals_in_a_region_are_those_of_the_python_call(
    client: TestClient, photo: bytes, predictor: Predictor
) -> None:
    image_id = client.put("/v1/images?encode=false", content=photo).json()["id"]
    asked = {"image": image_id, "query": {"label": "thing", "prompts": [POINTS]}, "within": {"mask": encode_rle(DRAWN)}}
    answer = client.post("/v1/propose", json=asked).json()
    found = predictor.propose(bundled_image("chelsea"), QUERIES[2], within=DRAWN)
    assert [result["mask"] for result in answer["results"]] == [result.to_rle() for result in found]
    assert any(result.area for result in found)
    assert not client.get(f"/v1/images/{image_id}").json()["is_encoded"], "nothing but the region was encoded"
    beside = {**asked, "within": {"box_xyxy": [0, 0, 50, 50]}}
    assert client.post("/v1/propose", json=beside).json()["error"]["code"] == "outside_image"


@pytest.mark.parametrize(
    "within", [{"box_xyxy": [100, 40, 320, 260]}, {"mask": encode_rle(DRAWN)}], ids=["box", "mask"]
)
def test_a_region_is_looked_in_alone(
    client: TestClient, photo: bytes, predictor: Predictor, within: dict[str, Any]
) -> None:
    image_id = client.put("/v1/images?encode=false", content=photo).json()["id"]
    asked = [*PHRASES, {"label": "clicked", "prompts": [{"kind": "point", "points_xy": [[220, 150]]}]}]
    answer = segment(client, image_id, asked, within=within, threshold=0, exact=True)
    queries = [*PHRASES, Query("clicked", (PointPrompt(((220, 150),)),))]
    region = DRAWN if "mask" in within else BoxPrompt((100, 40, 320, 260))
    found = predictor.segment(bundled_image("chelsea"), queries, within=region, threshold=0)
    assert [each["mask"] for each in answer["results"]] == [each.to_rle() for each in found]
    assert [each["presence"] for each in answer["results"]] == [each.presence for each in found], "exact"
    assert found["clicked"].area
    assert not client.get(f"/v1/images/{image_id}").json()["is_encoded"], "nothing but the region was encoded"
    small = segment(client, image_id, asked, within=within, threshold=0, mask_long_side=100)
    for result, full in zip(small["results"], found, strict=True):
        assert result["mask"]["size"] == [67, 100]
        assert result["area"] == pytest.approx(full.area, rel=0.15, abs=200)


def test_a_region_is_a_box_or_a_mask(client: TestClient, image_id: str) -> None:
    box, mask = [100, 40, 320, 260], encode_rle(DRAWN)
    for within, code in (
        ({}, "invalid_prompt"),
        ({"box_xyxy": box, "mask": mask}, "invalid_prompt"),
        ({"box_xyxy": [0.1, 0.1, 0.5, 0.5]}, "invalid_prompt"),
        ({"box_xyxy": [900, 900, 950, 950]}, "outside_image"),
        ({"mask": encode_rle(np.ones((10, 90), dtype=np.bool_))}, "outside_image"),
        ({"box": box}, "invalid_request"),
    ):
        answer = client.post("/v1/segment", json={"image": image_id, "queries": ["cat"], "within": within})
        assert (answer.status_code, answer.json()["error"]["code"]) == (422, code)


def test_long_answers_are_compressed(client: TestClient, image_id: str) -> None:
    request = {"image": image_id, "queries": ASKED, "masks": "polygons"}
    answer = client.post("/v1/segment", json=request, headers={"Accept-Encoding": "gzip"})
    assert answer.headers["content-encoding"] == "gzip"
