"""The real Label Studio as a process with a folder of its own, and what it asks of a server, recorded."""

import json
import os
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2

USER, PASSWORD = "annotator@example.com", "secret-password"
TOKEN = "0123456789abcdef0123456789abcdef01234567"
START_S = 900  # the first start makes the tables of its database

# Every kind of tag that regions are asked by or written to.
INTERFACE = """<View>
  <Image name="image" value="$image" zoom="true"/>
  <BrushLabels name="brush" toName="image">
    <Label value="cat" background="#e4572e"/>
    <Label value="ear" predicted_values="the cat's ear" background="#2e86ab"/>
  </BrushLabels>
  <KeyPointLabels name="point" toName="image" smart="true">
    <Label value="cat" smart="true" background="#e4572e"/>
    <Label value="ear" smart="true" background="#2e86ab"/>
  </KeyPointLabels>
  <RectangleLabels name="box" toName="image" smart="true">
    <Label value="cat" background="#e4572e"/>
    <Label value="ear" background="#2e86ab"/>
  </RectangleLabels>
  <TextArea name="words" toName="image" editable="true" rows="1" placeholder="what to find"/>
</View>"""


class LabelStudio:
    """Starts Label Studio; use it as a context manager.

    Args:
        executable: `bin/label-studio` of its environment.
        folder: For its data.
    """

    def __init__(self, executable: Path, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._log = folder / "label-studio.log"
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            # Without this it refuses every backend on a private address.
            "USE_DEFAULT_BANNED_SUBNETS": "false",
            # Nothing is sent to its makers.
            "COLLECT_ANALYTICS": "false",
            "LATEST_VERSION_CHECK": "false",
            "SENTRY_DSN": "",
            "FRONTEND_SENTRY_DSN": "",
        }
        arguments = ["start", "--no-browser", "--internal-host", "127.0.0.1", "--port", str(self.port)]
        account = ["--username", USER, "--password", PASSWORD, "--user-token", TOKEN, "--enable-legacy-api-token"]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [str(executable), *arguments, "--data-dir", str(folder), *account],
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self._client = httpx2.Client(base_url=self.url, headers={"Authorization": f"Token {TOKEN}"}, timeout=120)

    def __enter__(self) -> "LabelStudio":
        started = time.monotonic()
        while not self._answers():
            ended = self._process.poll() is not None
            if ended or time.monotonic() - started > START_S:
                raise AssertionError(f"Label Studio did not start:\n{self._log.read_text()[-3000:]}")
            time.sleep(1)
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()
        self._process.terminate()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def ask(self, method: str, path: str, **request: Any) -> Any:
        """Call its API; give the decoded answer."""
        answer = self._client.request(method, path, **request)
        assert answer.status_code < 400, f"{method} {path}: {answer.status_code} {answer.text[:2000]}"
        return answer.json() if answer.content else None

    def _answers(self) -> bool:
        try:
            return self._client.get("/health").status_code == 200
        except httpx2.TransportError:
            return False


def recording(app: Any, record: Callable[[str, Any], None]) -> Any:
    """Wrap an ASGI application: `record` gets path and JSON body of each request with a body."""

    async def wrapped(scope: Any, receive: Any, send: Any) -> None:
        chunks: list[bytes] = []

        async def receive_noted() -> Any:
            message = await receive()
            if message["type"] == "http.request":
                chunks.append(message.get("body", b""))
                if not message.get("more_body", False) and any(chunks):
                    record(scope["path"], json.loads(b"".join(chunks)))
            return message

        await app(scope, receive_noted, send)

    return wrapped
