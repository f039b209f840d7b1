"""A server in this process, with the tiny model that takes every kind of prompt."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from served_world import read_refusal, tiny_predictor

from promptseg import Predictor
from promptseg.image_files import bundled_image
from promptseg.server import ServerSettings, create_app


@pytest.fixture(scope="session")
def predictor() -> Predictor:
    return tiny_predictor()


@pytest.fixture(scope="session")
def photo() -> bytes:
    """The file of the bundled cat, 300 x 451 pixels."""
    return Path(bundled_image("chelsea")).read_bytes()


@pytest.fixture
def serve(predictor: Predictor) -> Iterator[Callable[..., TestClient]]:
    """Start a server with these settings, and with this model instead of the tiny one."""
    running: list[TestClient] = []

    def start(models: Any = None, **settings: Any) -> TestClient:
        app = create_app(models or predictor, ServerSettings(**settings))
        client = TestClient(app, base_url="http://localhost", raise_server_exceptions=False)
        running.append(client.__enter__())
        return client

    yield start
    for client in running:
        client.__exit__(None, None, None)


@pytest.fixture
def client(serve: Callable[..., TestClient]) -> TestClient:
    return serve()


@pytest.fixture
def image_id(client: TestClient, photo: bytes) -> str:
    return str(client.put("/v1/images", content=photo).json()["id"])


@pytest.fixture
def refused(client: TestClient) -> Callable[..., tuple[int, str, str]]:
    """Send a request that is refused; give status, code and message."""

    def ask(method: str, url: str, **request: Any) -> tuple[int, str, str]:
        return read_refusal(client.request(method, url, **request))

    return ask
