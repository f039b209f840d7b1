"""The image segmentation task, asked by the real client of Hugging Face."""

import base64
from collections.abc import Callable, Iterator

import huggingface_hub
import numpy as np
import pytest
from fastapi.testclient import TestClient
from huggingface_hub import InferenceClient
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.utils._http import default_client_factory
from served_world import read_refusal

from promptseg import Predictor
from promptseg.image_files import bundled_image

PHOTO = str(bundled_image("chelsea"))


@pytest.fixture
def inference(serve: Callable[..., TestClient]) -> Iterator[Callable[..., InferenceClient]]:
    """Make a client of Hugging Face that asks a server in this process."""
    server = serve(token="s3cret")
    huggingface_hub.set_client_factory(lambda: server)

    def make(query: str, token: str = "s3cret") -> InferenceClient:
        return InferenceClient(f"http://localhost/hf{query}", token=token)

    yield make
    huggingface_hub.set_client_factory(default_client_factory)


def test_the_real_client_gets_the_objects_of_its_phrases(
    inference: Callable[..., InferenceClient], predictor: Predictor
) -> None:
    found = predictor.segment(PHOTO, ["table", "window"])
    segments = inference("?text=table&text=window").image_segmentation(PHOTO)
    expected = [(result, each) for result in found for each in result.instances]
    assert [(each.label, each.score) for each in segments] == [
        (result.label, round(instance.score, 6)) for result, instance in expected
    ]
    assert segments, "something is found"
    for segment, (_, instance) in zip(segments, expected, strict=True):
        assert segment.mask.mode == "L"  # type: ignore[attr-defined]
        np.testing.assert_array_equal(np.asarray(segment.mask) > 0, instance.mask)


def test_its_parameters_are_those_of_the_python_call(
    inference: Callable[..., InferenceClient], predictor: Predictor
) -> None:
    found = predictor.segment(PHOTO, ["table", "window"], threshold=0.1, mask_threshold=0.6)
    segments = inference("?text=table&text=window").image_segmentation(
        PHOTO, threshold=0.1, mask_threshold=0.6, subtask="semantic"
    )
    assert [each.label for each in segments] == ["table", "window"] and all(each.is_present for each in found)
    for segment, result in zip(segments, found, strict=True):
        np.testing.assert_array_equal(np.asarray(segment.mask) > 0, result.mask)


@pytest.mark.parametrize(
    ("query", "options", "said"),
    [
        ("", {}, "no phrase was given"),
        ("?text=table", {"subtask": "panoptic"}, "parameters.subtask: Input should be 'instance' or 'semantic'"),
        ("?text=table", {"overlap_mask_area_threshold": 0.5}, "parameters.overlap_mask_area_threshold: Extra inputs"),
        ("?text=table", {"threshold": 7}, "parameters.threshold: Input should be less than or equal to 1"),
    ],
)
def test_what_it_cannot_have_is_said(
    inference: Callable[..., InferenceClient], query: str, options: dict[str, object], said: str
) -> None:
    with pytest.raises(HfHubHTTPError, match="422") as refused:
        inference(query).image_segmentation(PHOTO, **options)  # type: ignore[arg-type]
    assert said in str(refused.value)


def test_a_wrong_token_is_refused(inference: Callable[..., InferenceClient]) -> None:
    with pytest.raises(HfHubHTTPError, match="401"):
        inference("?text=table", token="wrong").image_segmentation(PHOTO)


def test_bodies_that_are_nothing(client: TestClient, photo: bytes) -> None:
    def ask(**request: object) -> tuple[int, str]:
        return read_refusal(client.post("/hf?text=cat", **request))[:2]  # type: ignore[arg-type]

    assert ask(content=b"hello") == (422, "unreadable_image")
    assert ask(content=b"{", headers={"Content-Type": "application/json"}) == (400, "malformed_request")
    assert ask(json={"inputs": "?"}) == (400, "malformed_request")
    assert ask(json={"inputs": 3}) == (422, "invalid_request")
    assert ask(json=[]) == (422, "invalid_request")
    encoded = base64.b64encode(photo).decode()
    assert client.post("/hf?text=cat", json={"inputs": encoded}).status_code == 200
