"""`/metrics` is there where it was asked for, and counts what happened."""

from collections.abc import Callable

from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families
from served_world import read_refusal


def test_metrics_count_requests_steps_and_images(serve: Callable[..., TestClient], photo: bytes) -> None:
    client = serve(metrics=True)
    for _ in range(2):
        client.put("/v1/images", content=photo)
    client.get("/nothing")
    answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    values = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }
    assert values["promptseg_requests_total", "/v1/images", "201"] == 1
    assert values["promptseg_requests_total", "/v1/images", "200"] == 1
    assert values["promptseg_requests_total", "-", "404"] == 1
    assert values["promptseg_step_seconds_count", "wait"] == 2
    assert values["promptseg_step_seconds_count", "decode"] == 1
    assert values["promptseg_images",] == 1
    assert values["promptseg_image_bytes",] == client.get("/v1/status").json()["images"]["bytes"]
    assert values["promptseg_waiting", "cpu"] == 0


def test_two_servers_count_apart_and_none_counts_unasked(serve: Callable[..., TestClient]) -> None:
    serve(metrics=True)
    serve(metrics=True)
    assert read_refusal(serve().get("/metrics"))[:2] == (404, "no_such_route")
