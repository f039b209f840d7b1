"""Many requests at once: every answer is that of a serial one, and more than the waiting room holds is refused."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from fastapi.testclient import TestClient
from served_world import PHRASES, read_refusal

from promptseg import Predictor
from promptseg.image_files import bundled_image

REQUESTS: list[list[Any]] = [
    ["table", "cat"],
    list(PHRASES),
    [{"label": "clicked", "prompts": [{"kind": "point", "points_xy": [[220, 150]]}]}],
    ["window", {"label": "boxed", "prompts": [{"kind": "box", "box_xyxy": [10, 10, 200, 200]}]}],
]


def ask(client: TestClient, image_id: str, queries: list[Any]) -> list[Any]:
    answer = client.post("/v1/segment", json={"image": image_id, "queries": queries, "threshold": 0})
    assert answer.status_code == 200, answer.text
    return list(answer.json()["results"])


def test_eight_threads_on_two_images_get_the_serial_answers_bit_for_bit(serve: Callable[..., TestClient]) -> None:
    client = serve(max_waiting=64)
    images = [bundled_image(name).read_bytes() for name in ("chelsea", "coffee")]
    image_ids = [client.put("/v1/images", content=image).json()["id"] for image in images]
    jobs = [(image_id, queries) for image_id in image_ids for queries in REQUESTS]
    serial = [ask(client, *job) for job in jobs]
    for image_id in image_ids:
        client.delete(f"/v1/images/{image_id}")
    barrier = threading.Barrier(8)

    def work(number: int) -> list[list[Any]]:
        barrier.wait(10)
        answers = []
        for step in range(len(jobs)):
            index = (number + step) % len(jobs)
            image = images[index // len(REQUESTS)]
            assert client.put("/v1/images", content=image).json()["id"] == jobs[index][0]
            answers.append((index, ask(client, *jobs[index])))
        return [answer for _, answer in sorted(answers, key=lambda each: each[0])]

    with ThreadPoolExecutor(8) as pool:
        for answers in pool.map(work, range(8)):
            assert answers == serial


def test_while_one_computes_others_wait_and_more_are_refused(
    serve: Callable[..., TestClient], predictor: Predictor, photo: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = serve(max_waiting=3)
    image_id = client.put("/v1/images", content=photo).json()["id"]
    began, may_end = threading.Event(), threading.Event()
    compute = Predictor.segment

    def compute_slowly(self: Predictor, *arguments: Any, **options: Any) -> Any:
        began.set()
        assert may_end.wait(20)
        return compute(self, *arguments, **options)

    monkeypatch.setattr(Predictor, "segment", compute_slowly)
    request = {"image": image_id, "queries": ["table"]}
    with ThreadPoolExecutor(13) as pool:
        first = pool.submit(client.post, "/v1/segment", json=request)
        assert began.wait(20)
        others = [pool.submit(client.post, "/v1/segment", json=request) for _ in range(12)]
        while sum(other.done() for other in others) < 9:
            # state is answered at once, however busy the device is
            assert client.get("/healthz").status_code == 200
        gate = client.get("/v1/status").json()["gates"][0]
        assert gate == {"device": "cpu", "running": 1, "waiting": 3, "max_waiting": 3}
        refused = [other.result() for other in others if other.done()]
        may_end.set()
        answers = [first.result(), *(other.result() for other in others)]
    assert len(refused) == 9
    for answer in refused:
        assert read_refusal(answer) == (503, "busy", "a request computes on cpu and 3 wait, which is the limit")
        assert answer.headers["retry-after"] == "1"
    served = [answer.json()["results"] for answer in answers if answer.status_code == 200]
    assert len(served) == 4 and all(each == served[0] for each in served)


def test_the_store_stays_within_its_bytes(serve: Callable[..., TestClient]) -> None:
    images = [bundled_image(name).read_bytes() for name in ("chelsea", "coffee", "astronaut", "rocket")]
    client = serve(cache_bytes=2_500_000)
    for image in 3 * images:
        assert client.put("/v1/images", content=image).status_code == 201
        assert client.get("/v1/status").json()["images"]["bytes"] <= 2_500_000
    counts = client.get("/v1/status").json()["images"]
    assert counts["num_images"] > 1 and counts["num_images"] + counts["evictions"] == 12
