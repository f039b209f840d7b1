"""Over real connections: clients that leave, and bodies that come slowly, without a length, or all at one time."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from live_server import LiveServer

from promptseg import Predictor
from promptseg.server import ServerSettings, create_app


@pytest.fixture
def serve_live(predictor: Predictor) -> Iterator[Callable[..., LiveServer]]:
    running: list[LiveServer] = []

    def start(**settings: Any) -> LiveServer:
        running.append(LiveServer(create_app(predictor, ServerSettings(**settings))))
        return running[-1]

    yield start
    for server in running:
        server.stop()


def send(server: LiveServer, head: str, body: bytes = b"") -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", server.port), timeout=20)
    connection.sendall(f"{head}\r\nHost: localhost\r\n\r\n".encode() + body)
    return connection


def post(server: LiveServer, path: str, request: dict[str, Any]) -> socket.socket:
    body = json.dumps(request).encode()
    head = f"POST {path} HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    return send(server, head, body)


def receive(connection: socket.socket) -> tuple[int, dict[str, Any]]:
    with connection, connection.makefile("rb") as stream:
        status = int(stream.readline().split()[1])
        length = 0
        while (line := stream.readline().strip()) != b"":
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        return status, json.loads(stream.read(length))


def put(server: LiveServer, photo: bytes) -> str:
    status, answer = receive(send(server, f"PUT /v1/images HTTP/1.1\r\nContent-Length: {len(photo)}", photo))
    assert status == 201
    return str(answer["id"])


def gate(server: LiveServer) -> dict[str, Any]:
    return dict(receive(send(server, "GET /v1/status HTTP/1.1"))[1]["gates"][0])


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, "it did not happen"


def test_a_waiting_request_whose_client_left_never_computes(
    serve_live: Callable[..., LiveServer], photo: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve_live(max_waiting=2)
    image_id = put(server, photo)
    labels: list[str] = []
    began, may_end = threading.Event(), threading.Event()
    compute = Predictor.segment

    def compute_slowly(self: Predictor, embedding: Any, queries: Any, **options: Any) -> Any:
        labels.extend(queries)
        began.set()
        assert may_end.wait(20)
        return compute(self, embedding, queries, **options)

    monkeypatch.setattr(Predictor, "segment", compute_slowly)
    first = post(server, "/v1/segment", {"image": image_id, "queries": ["first"]})
    assert began.wait(20)
    left, stays = (post(server, "/v1/segment", {"image": image_id, "queries": [name]}) for name in ("left", "stays"))
    wait_until(lambda: gate(server)["waiting"] == 2)
    left.close()
    wait_until(lambda: gate(server)["waiting"] == 1)
    may_end.set()
    assert receive(first)[0] == receive(stays)[0] == 200
    assert labels == ["first", "stays"]


def test_a_body_that_comes_too_slowly_is_given_up(serve_live: Callable[..., LiveServer], photo: bytes) -> None:
    server = serve_live(max_body_s=0.1)
    status, answer = receive(send(server, f"PUT /v1/images HTTP/1.1\r\nContent-Length: {len(photo)}", photo[:100]))
    assert (status, answer["error"]["code"]) == (408, "body_too_slow")
    assert "did not arrive within 0.1 seconds, which is the limit" in answer["error"]["message"]


def test_bodies_in_memory_have_a_common_limit(serve_live: Callable[..., LiveServer], photo: bytes) -> None:
    server = serve_live(max_body_bytes=100_000, max_bodies_bytes=100_000)
    half = send(server, "PUT /v1/images HTTP/1.1\r\nContent-Length: 90000", photo[:100])

    def is_refused() -> bool:
        answer = receive(send(server, "PUT /v1/images HTTP/1.1\r\nContent-Length: 90000", b"x" * 90_000))
        return answer[0] == 503 and answer[1]["error"]["code"] == "busy"

    wait_until(is_refused)
    half.close()
    wait_until(lambda: not is_refused())


def test_a_body_without_a_length_is_counted_while_it_comes(serve_live: Callable[..., LiveServer]) -> None:
    server = serve_live(max_body_bytes=1_000, max_bodies_bytes=1_000)
    chunk = b"1f4\r\n" + b"x" * 500 + b"\r\n"
    sent = send(server, "PUT /v1/images HTTP/1.1\r\nTransfer-Encoding: chunked", 3 * chunk + b"0\r\n\r\n")
    status, answer = receive(sent)
    assert (status, answer["error"]["code"]) == (413, "body_too_large")


def test_who_asks_before_sending_is_refused_before_sending(serve_live: Callable[..., LiveServer]) -> None:
    server = serve_live()
    head = "PUT /v1/images HTTP/1.1\r\nContent-Length: 200000000\r\nExpect: 100-continue"
    status, answer = receive(send(server, head))
    assert (status, answer["error"]["code"]) == (413, "body_too_large")
    assert answer["error"]["message"] == "the body has 200,000,000 bytes; the limit is 104,857,600 bytes"
