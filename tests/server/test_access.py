"""Who may ask: token, Host, Origin; and the headers that confine the page."""

from base64 import b64encode
from collections.abc import Callable

import pytest
from fastapi.testclient import TestClient
from served_world import read_refusal

from promptseg.errors import PromptError
from promptseg.server import ServerSettings

TOKEN = "s3cret-t0ken"


def basic(password: str) -> str:
    return "Basic " + b64encode(f"anyone:{password}".encode()).decode()


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        ({}, "has none"),
        ({"Authorization": "Bearer wrong"}, "has a wrong one"),
        ({"Authorization": "Bearer "}, "has a wrong one"),
        ({"Authorization": f"Bearer {TOKEN}x"}, "has a wrong one"),
        ({"Authorization": basic("wrong")}, "has a wrong one"),
        ({"Authorization": "Basic !!!"}, "has a wrong one"),
        ({"Authorization": "Digest x"}, "has none"),
        ({"Token": "wrong"}, "has a wrong one"),
        ({"Token": "wröng".encode()}, "has a wrong one"),
    ],
)
def test_without_the_token_nothing_is_answered(
    serve: Callable[..., TestClient], photo: bytes, headers: dict[str, str], said: str
) -> None:
    client = serve(token=TOKEN)
    for method, url in (("PUT", "/v1/images"), ("POST", "/v1/segment"), ("GET", "/v1/status"), ("GET", "/nothing")):
        answer = client.request(method, url, content=photo if method == "PUT" else None, headers=headers)
        status, code, message = read_refusal(answer)
        assert (status, code) == (401, "wrong_token") and said in message
        assert answer.headers["www-authenticate"] == "Bearer"
    assert serve(token=TOKEN).get("/v1/status", headers=headers).status_code == 401


@pytest.mark.parametrize(
    "headers",
    [{"Authorization": f"Bearer {TOKEN}"}, {"Authorization": basic(TOKEN)}, {"Token": TOKEN}],
)
def test_the_token_opens(serve: Callable[..., TestClient], headers: dict[str, str]) -> None:
    client = serve(token=TOKEN)
    answer = client.get("/v1/status", headers=headers)
    assert answer.status_code == 200 and answer.json()["needs_token"]


def test_page_and_probes_need_no_token(serve: Callable[..., TestClient]) -> None:
    client = serve(token=TOKEN)
    for url in ("/healthz", "/readyz", "/openapi.json", "/photos/coffee.jpg"):
        assert client.get(url).status_code == 200


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:8000", "127.0.0.1", "[::1]:8000", "192.168.0.7:80", "Box.lan"]
)
def test_hosts_that_are_this_server(serve: Callable[..., TestClient], host: str) -> None:
    client = serve(allowed_hosts=("box.lan",))
    assert client.get("/healthz", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "", "[::1", "a b"]
)
def test_a_name_that_was_pointed_at_this_server_is_refused(serve: Callable[..., TestClient], host: str) -> None:
    answer = serve().get("/v1/status", headers={"Host": host})
    assert read_refusal(answer)[:2] == (421, "unknown_host")


@pytest.mark.parametrize(
    ("host", "origin", "is_allowed"),
    [
        ("localhost:8000", "http://localhost:8000", True),
        ("127.0.0.1", "https://127.0.0.1", True),
        ("localhost:8000", "https://tool.example", True),
        ("localhost:8000", "http://localhost:3000", False),
        ("localhost:8000", "http://evil.example", False),
        ("localhost:8000", "null", False),
        ("localhost:8000", "", False),
    ],
)
def test_origins(serve: Callable[..., TestClient], photo: bytes, host: str, origin: str, is_allowed: bool) -> None:
    client = serve(allowed_origins=("https://tool.example",))
    answer = client.put("/v1/images", content=photo, headers={"Host": host, "Origin": origin})
    if is_allowed:
        assert answer.status_code == 201
    else:
        assert read_refusal(answer)[:2] == (403, "foreign_origin")


def test_an_allowed_origin_may_read_the_answer(serve: Callable[..., TestClient], photo: bytes) -> None:
    client = serve(allowed_origins=("https://tool.example",), token="t")
    origin = {"Origin": "https://tool.example"}
    asks = {"Access-Control-Request-Method": "PUT", "Access-Control-Request-Headers": "authorization"}
    preflight = client.options("/v1/images", headers=origin | asks)
    assert preflight.status_code == 200
    answer = client.put("/v1/images", content=photo, headers=origin | {"Authorization": "Bearer t"})
    for each in (preflight, answer):
        assert each.headers["access-control-allow-origin"] == "https://tool.example"
        assert "access-control-allow-credentials" not in each.headers
    assert "access-control-allow-origin" not in client.get("/healthz").headers


def test_every_answer_has_the_safe_headers(serve: Callable[..., TestClient]) -> None:
    client = serve(token=TOKEN)
    for url in ("/healthz", "/v1/status", "/nothing", "/photos/coffee.jpg"):
        headers = client.get(url).headers
        assert "default-src 'self'" in headers["content-security-policy"]
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cache-control"] in ("no-store", "no-cache")


@pytest.mark.parametrize("token", ["", " ", "a b", "tökén", "a\n"])
def test_a_token_fits_into_a_header(token: str) -> None:
    with pytest.raises(PromptError, match="a token is made of printable ASCII characters without spaces"):
        ServerSettings(token=token)
