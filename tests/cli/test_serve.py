"""`promptseg serve` as a process: it answers at once, ends on Ctrl+C, and says in one line what is wrong."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from command_line import Ended

from promptseg.image_files import bundled_image

Started = tuple["subprocess.Popen[str]", str, str]


@pytest.fixture
def start() -> Iterator[Callable[..., Started]]:
    """Start a server on a free port; give the process, its address, and the line that says it."""
    running: list[subprocess.Popen[str]] = []

    def run(*arguments: str, **environment: str) -> Started:
        process = subprocess.Popen(
            [sys.executable, "-m", "promptseg", "serve", "--port", "0", "--engine", "torch", *arguments],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment},
        )
        running.append(process)
        assert process.stderr is not None
        line = process.stderr.readline()
        found = re.search(r"http://\S+?:\d+", line)
        assert found, line + process.stderr.read()
        return process, found[0], line

    yield run
    for process in running:
        process.kill()
        process.communicate()


def fetch(url: str, data: bytes | None = None, method: str | None = None, **headers: str) -> tuple[int, Any]:
    request = urllib.request.Request(url, data=data, method=method, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


def test_it_answers_at_once_loads_and_ends_on_ctrl_c(start: Callable[..., Started]) -> None:
    process, url, line = start("--model", "promptseg-test", "--model", "sam-test")
    assert line == f"promptseg serves on {url}/ (Ctrl+C ends it)\n" and "127.0.0.1" in url
    assert fetch(f"{url}/healthz") == (200, {"status": "ok"})
    status, ready = fetch(f"{url}/readyz")
    while status == 503:
        assert ready["status"] == "loading" and [each["name"] for each in ready["models"]] == [
            "promptseg-test",
            "sam-test",
        ]
        time.sleep(0.05)
        status, ready = fetch(f"{url}/readyz")
    assert ready["status"] == "ready"
    photo = bundled_image("chelsea").read_bytes()
    status, image = fetch(f"{url}/v1/images", photo, "PUT")
    assert status == 201
    status, refused = fetch(f"{url}/v1/images", photo, "PUT", Origin="http://evil.example")
    assert (status, refused["error"]["code"]) == (403, "foreign_origin")
    request = json.dumps({"image": image["id"], "queries": ["cat"]}).encode()
    status, answer = fetch(f"{url}/v1/segment", request, "POST", **{"Content-Type": "application/json"})
    assert status == 200 and answer["results"][0]["label"] == "cat"
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "PUT /v1/images 201" in said and "Traceback" not in said


def test_other_addresses_get_a_token(start: Callable[..., Started]) -> None:
    _, url, line = start("--model", "promptseg-test", "--host", "0.0.0.0")
    found = re.search(r"http://127\.0\.0\.1:\d+/#token=(\S{32,}) ", line)
    assert found, line
    assert fetch(f"{url}/v1/status")[0] == 401
    status, answer = fetch(f"{url}/v1/status", Authorization=f"Bearer {found[1]}")
    assert status == 200 and answer["needs_token"]


def test_a_token_from_the_environment_is_not_printed(start: Callable[..., Started]) -> None:
    _, url, line = start("--model", "promptseg-test", "--host", "0.0.0.0", PROMPTSEG_TOKEN="s3cret")
    assert "s3cret" not in line
    assert fetch(f"{url}/v1/status")[0] == 401
    assert fetch(f"{url}/v1/status", Authorization="Bearer s3cret")[0] == 200


def test_ctrl_c_ends_it_while_the_model_loads(start: Callable[..., Started], tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "config.json")  # who reads it waits for ever
    process, url, _ = start("--model", str(tmp_path))
    assert fetch(f"{url}/readyz")[1]["status"] == "loading"
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 0


def test_a_model_that_cannot_be_loaded_ends_the_server(start: Callable[..., Started], tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    process, _, _ = start("--model", str(tmp_path))
    _, said = process.communicate(timeout=60)
    assert process.returncode == 2
    assert said.splitlines()[-1].startswith(f"error: {tmp_path}") and "Traceback" not in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--model", "sam9"), "error: no model is named 'sam9'"),
        (("--device", "tpu"), "error: 'tpu' is no device"),
        (("--host", "999.1.2.3"), "can't listen on 999.1.2.3, port"),
        (("--token", "a b"), "error: a token is made of printable ASCII characters without spaces"),
        (("--port", "70000"), "Input should be less than or equal to 65535"),
    ],
)
def test_wrong_requests_are_said_in_one_line(
    promptseg: Callable[..., Ended], arguments: tuple[str, ...], said: str
) -> None:
    code, out, err = promptseg("serve", "--model", "promptseg-test", *arguments)
    assert code == 2 and not out
    assert said in " ".join(err.replace("│", " ").split())


def test_a_port_that_is_taken(promptseg: Callable[..., Ended]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, _, err = promptseg("serve", "--model", "promptseg-test", "--port", port)
    said = " ".join(err.replace("│", " ").split())
    assert code == 2 and f"can't listen on 127.0.0.1, port {port}:" in said and "--port 0 takes any free port" in said


def test_without_the_extra_the_message_is_the_command(
    promptseg: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("fastapi", "uvicorn"):
        with monkeypatch.context() as missing:
            missing.setitem(sys.modules, module, None)
            for loaded in [
                name for name in sys.modules if name.startswith(("promptseg.server", "promptseg.cli.serve_"))
            ]:
                missing.delitem(sys.modules, loaded)
            code, _, err = promptseg("serve", "--model", "promptseg-test")
        assert code == 2 and f"{module} is not installed; pip install 'promptseg[serve]'" in err
