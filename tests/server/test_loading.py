"""Models load while the server already answers, and it says how far they are."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient
from served_world import read_refusal

from promptseg import Predictor
from promptseg.errors import CheckpointError, PromptError, WeightsError
from promptseg.server import ModelSource, create_app


class SlowLoad:
    """Loads a model in steps that the test allows."""

    def __init__(self, predictor: Predictor) -> None:
        self.predictor = predictor
        self.may_compile = threading.Event()
        self.may_end = threading.Event()
        self.steps: list[str] = []
        self.reached = threading.Condition()

    def __call__(self, *, progress: Any, report_compile: Callable[[str], None]) -> Predictor:
        progress("mobile-sam", 12, 40)
        self._reach("fetching")
        assert self.may_compile.wait(10)
        report_compile("images")
        self._reach("compiling")
        assert self.may_end.wait(10)
        return self.predictor

    def wait_for(self, step: str) -> None:
        with self.reached:
            assert self.reached.wait_for(lambda: step in self.steps, timeout=10)

    def _reach(self, step: str) -> None:
        with self.reached:
            self.steps.append(step)
            self.reached.notify_all()


@pytest.fixture
def slow(predictor: Predictor) -> Iterator[SlowLoad]:
    load = SlowLoad(predictor)
    yield load
    load.may_compile.set()
    load.may_end.set()


def wait_until(client: TestClient, status: str) -> dict[str, Any]:
    for _ in range(2_000):
        answer = client.get("/readyz")
        if answer.json()["status"] == status:
            return {"code": answer.status_code, **answer.json()}
        client.portal.call(asyncio.sleep, 0.005)  # type: ignore[union-attr]
    raise AssertionError(f"never {status}: {answer.text}")


def test_the_server_says_what_is_loading(serve: Callable[..., TestClient], slow: SlowLoad, photo: bytes) -> None:
    client = serve(ModelSource("tiny", slow))
    slow.wait_for("fetching")
    answer = client.get("/readyz")
    assert answer.status_code == 503
    (model,) = answer.json()["models"]
    assert model.pop("seconds") >= 0
    assert model == {
        "name": "tiny",
        "state": "loading",
        "step": "fetching mobile-sam",
        "bytes_done": 12,
        "bytes_total": 40,
    }
    assert client.get("/healthz").json() == {"status": "ok"}
    assert client.get("/v1/models").json()["models"] == [{"name": "tiny", "state": "loading"}]
    for refused in (
        client.put("/v1/images", content=photo),
        client.post("/v1/segment", json={"image": "x", "queries": ["cat"]}),
    ):
        assert read_refusal(refused)[1:] == ("model_loading", "tiny is still loading: fetching mobile-sam")
        assert refused.status_code == 503 and refused.headers["retry-after"] == "1"
    slow.may_compile.set()
    slow.wait_for("compiling")
    assert client.get("/readyz").json()["models"][0]["step"] == "compiling images for this processor, once"
    slow.may_end.set()
    assert wait_until(client, "ready")["code"] == 200
    assert client.put("/v1/images", content=photo).status_code == 201
    assert client.get("/v1/models").json()["models"][0]["prompt_kinds"] == ["box", "exemplar", "mask", "point", "text"]


def test_a_loaded_model_answers_while_another_one_loads(
    serve: Callable[..., TestClient], slow: SlowLoad, predictor: Predictor, photo: bytes
) -> None:
    client = serve([predictor, ModelSource("second", slow)])
    slow.wait_for("fetching")
    assert client.get("/readyz").status_code == 503
    image_id = client.put("/v1/images", content=photo).json()["id"]
    assert client.post("/v1/segment", json={"image": image_id, "queries": ["cat"]}).status_code == 200
    second = client.post("/v1/segment", json={"image": image_id, "queries": ["cat"], "model": "second"})
    assert read_refusal(second)[1] == "model_loading"


def test_a_model_that_cannot_be_loaded_says_why(serve: Callable[..., TestClient], photo: bytes) -> None:
    def fail(**_: Any) -> Predictor:
        raise WeightsError("mobile-sam can't be fetched: no network")

    client = serve(ModelSource("tiny", fail))
    answer = wait_until(client, "failed")
    assert answer["code"] == 503
    assert answer["models"][0]["message"] == "mobile-sam can't be fetched: no network"
    status, code, message = read_refusal(client.put("/v1/images", content=photo))
    assert (status, code) == (503, "model_failed") and "no network" in message


def test_a_model_that_fails_does_not_keep_others_from_loading(
    serve: Callable[..., TestClient], predictor: Predictor, photo: bytes
) -> None:
    def fail(**_: Any) -> Predictor:
        raise WeightsError("no network")

    def break_down(**_: Any) -> Predictor:
        raise ZeroDivisionError

    client = serve(
        [ModelSource("one", fail), ModelSource("two", break_down), ModelSource("tiny", lambda **_: predictor)]
    )
    states = []
    while "loading" in states or not states:
        states = [model["state"] for model in wait_until(client, "failed")["models"]]
    assert states == ["failed", "failed", "ready"]
    assert client.put("/v1/images?model=tiny", content=photo).status_code == 201


def test_a_bug_while_loading_is_not_taken_for_loading(
    serve: Callable[..., TestClient], caplog: pytest.LogCaptureFixture
) -> None:
    def fail(**_: Any) -> Predictor:
        raise ZeroDivisionError("secret")

    client = serve(ModelSource("tiny", fail))
    answer = wait_until(client, "failed")
    assert answer["models"][0]["message"] == "an unexpected error, which the server's log holds"
    client.get("/healthz")
    assert "ZeroDivisionError" in caplog.text


def test_each_model_has_a_name_of_its_own(predictor: Predictor) -> None:
    with pytest.raises(PromptError, match="each served model needs a name of its own, not tiny, tiny"):
        create_app([predictor, predictor])
    with pytest.raises(PromptError, match="needs at least one model"):
        create_app([])


def test_a_damaged_model_is_the_servers_fault(
    serve: Callable[..., TestClient], predictor: Predictor, photo: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise CheckpointError("tiny computed numbers that are not finite: its weights are damaged")

    monkeypatch.setattr(type(predictor), "encode", fail)
    assert read_refusal(serve().put("/v1/images", content=photo))[:2] == (500, "damaged_model")
