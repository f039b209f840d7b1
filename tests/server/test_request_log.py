"""The log says what was asked for and how it ended, and nothing that a person sent."""

import base64
import logging
from collections.abc import Callable

import pytest
from fastapi.testclient import TestClient


def test_the_log_holds_no_phrase_no_image_no_id_and_no_token(
    serve: Callable[..., TestClient], photo: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    client = serve(token="s3cret-t0ken")
    headers = {"Authorization": "Bearer s3cret-t0ken"}
    image_id = client.put("/v1/images", content=photo, headers=headers).json()["id"]
    encoded = base64.b64encode(photo).decode()
    for queries in (["window"], ["window" * 200], [{"label": "window", "prompts": []}], "window"):
        client.post("/v1/segment", json={"image": {"base64": encoded}, "queries": queries}, headers=headers)
    client.get(f"/v1/images/{image_id}?token=s3cret-t0ken", headers=headers)
    client.get(f"/nothing/{image_id}/window", headers=headers)
    client.get("/v1/status", headers={"Authorization": "Bearer other-s3cret"})
    # the client of the test writes a log of its own
    written = "\n".join(record.getMessage() for record in caplog.records if not record.name.startswith("http"))
    for secret in ("window", image_id, "s3cret", encoded[:40], encoded[-40:]):
        assert secret not in written
    lines = [record.getMessage() for record in caplog.records if record.name == "promptseg.server.request_log"]
    assert [line.rsplit(" ", 2)[0] for line in lines] == [
        "PUT /v1/images 201",
        "POST /v1/segment 200",
        "POST /v1/segment 422",
        "POST /v1/segment 422",
        "POST /v1/segment 422",
        "GET /v1/images/{image_id} 200",
        "GET - 404",
        "GET - 401",
    ]


def test_probes_are_quiet(client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="promptseg")
    client.get("/healthz")
    client.get("/readyz")
    assert not [record for record in caplog.records if record.name.startswith("promptseg")]
