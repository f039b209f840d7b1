"""The model hub as a source: a server here speaks the hub's download protocol to the real client."""

import hashlib
import http.server
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from safetensors.torch import load_file
from weights_support import TENSORS, checkpoint_bytes, leftovers, tiny_record

from promptseg.errors import WeightsError
from promptseg.weights import RECORDS, resolve
from promptseg.weights.records import HubFile

COMMIT = "0123456789abcdef0123456789abcdef01234567"
SOURCE = HubFile("someone/tiny", COMMIT, "tiny.pth")
CONTENT = checkpoint_bytes()


@dataclass
class Hub:
    """What the server holds and what it was asked.

    Attributes:
        content: The one file.
        commit: The revision that it answers with.
        status: Answer to the question for the file.
        cut_after: Bytes after which the transfer breaks off, each time.
    """

    content: bytes = CONTENT
    commit: str = COMMIT
    status: int = 302
    cut_after: int | None = None
    asked: list[str] = field(default_factory=list)
    url: str = ""


def handler_of(hub: Hub) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            """Metadata of a large file: where its bytes are, its hash and the commit; the file itself is elsewhere."""
            hub.asked.append(f"HEAD {self.path}")
            self.send_response(hub.status if self.path == f"/someone/tiny/resolve/{COMMIT}/tiny.pth" else 404)
            self.send_header("X-Repo-Commit", hub.commit)
            if hub.status == 302:
                self.send_header("X-Linked-Etag", f'"{hashlib.sha256(hub.content).hexdigest()}"')
                self.send_header("X-Linked-Size", str(len(hub.content)))
                # As at the real hub, on another host: the client asks here for metadata and there for bytes.
                self.send_header("Location", f"{hub.url.replace('127.0.0.1', 'localhost')}/storage/tiny.pth")
            else:
                self.send_header("X-Error-Code", "EntryNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def do_GET(self) -> None:
            """The bytes, from an offset where the client asks to go on."""
            hub.asked.append(f"GET {self.path}")
            asked_range = self.headers.get("Range", "bytes=0-").removeprefix("bytes=").rstrip("-")
            body = hub.content[int(asked_range) :]
            self.send_response(206 if int(asked_range) else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: hub.cut_after])
            if hub.cut_after is not None:
                self.close_connection = True

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    return Handler


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    hub = Hub()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler_of(hub))
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    for variable in ("PROMPTSEG_SOURCES", "PROMPTSEG_OFFLINE", "PROMPTSEG_WEIGHTS_PATH"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("PROMPTSEG_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    monkeypatch.setitem(RECORDS, "tiny", tiny_record(CONTENT, SOURCE))
    yield hub
    server.shutdown()
    thread.join()
    server.server_close()


def test_file_at_a_commit_is_fetched(hub: Hub, tmp_path: Path) -> None:
    assert load_file(resolve("tiny")).keys() == TENSORS.keys()
    about_the_file = [asked for asked in hub.asked if asked.endswith("tiny.pth")]
    assert about_the_file == [f"HEAD /someone/tiny/resolve/{COMMIT}/tiny.pth", "GET /storage/tiny.pth"]
    assert len(leftovers(tmp_path / "cache")) == 3


def test_other_bytes_at_the_hub_are_refused(hub: Hub, tmp_path: Path) -> None:
    hub.content = checkpoint_bytes({"weight": TENSORS["conv.bias"]})
    with pytest.raises(WeightsError, match=r"hub someone/tiny@01234567: tiny.pth: "):
        resolve("tiny")
    assert leftovers(tmp_path / "cache") == []


def test_same_size_but_another_hash_is_refused(hub: Hub, tmp_path: Path) -> None:
    hub.content = CONTENT[:-1] + bytes([CONTENT[-1] ^ 1])
    with pytest.raises(WeightsError, match="wrong sha256"):
        resolve("tiny")
    assert leftovers(tmp_path / "cache") == []


def test_file_that_the_hub_lacks(hub: Hub, tmp_path: Path) -> None:
    hub.status = 404
    with pytest.raises(WeightsError, match=r"no source provides tiny.pth: hub someone/tiny@01234567: tiny.pth: 404"):
        resolve("tiny")
    assert leftovers(tmp_path / "cache") == []


def test_transfer_that_breaks_off(hub: Hub, tmp_path: Path) -> None:
    hub.cut_after = 10
    with pytest.raises(WeightsError, match=r"hub someone/tiny@01234567: tiny.pth: "):
        resolve("tiny")
    assert leftovers(tmp_path / "cache") == []


@pytest.mark.slow  # the client tries for twenty seconds
def test_hub_out_of_reach(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{unused.getsockname()[1]}")
        with pytest.raises(WeightsError, match="no network: can't reach the model hub for someone/tiny"):
            resolve("tiny")
    assert leftovers(tmp_path / "cache") == []


@pytest.mark.parametrize("revision", ["main", "v1.0", "0123456"])
def test_a_revision_is_a_commit(revision: str) -> None:
    with pytest.raises(ValueError, match="pin a 40-digit commit"):
        HubFile("someone/tiny", revision, "tiny.pth")
