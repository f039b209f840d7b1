"""`/docs`: every route and every type, in a page that needs nothing else."""

import re

from fastapi.testclient import TestClient


def test_every_route_and_type_is_described(client: TestClient) -> None:
    answer = client.get("/docs")
    assert answer.status_code == 200 and answer.headers["content-type"] == "text/html; charset=utf-8"
    schema = client.get("/openapi.json").json()
    for path, operations in schema["paths"].items():
        for method in operations:
            assert f"<code>{method.upper()} {path}</code>" in answer.text
    for name in schema["components"]["schemas"]:
        assert f"id='{name}'" in answer.text
    anchors = set(re.findall(r"href='#(\w+)'", answer.text))
    assert anchors <= set(schema["components"]["schemas"]) and len(anchors) > 10


def test_nothing_else_is_loaded(client: TestClient) -> None:
    answer = client.get("/docs")
    assert not re.search(r"<(script|img|link|iframe)|https?://|url\(", answer.text)
    assert answer.headers["content-security-policy"].startswith("default-src 'none'; style-src 'sha256-")
