"""A proxy that fetches nothing: it answers "not found" and keeps what it was asked for."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self


class RecordingProxy:
    """Listens on a port of its own in a `with` block.

    Attributes:
        requests: "METHOD address" of each request.
    """

    def __init__(self) -> None:
        requests: list[str] = []

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                requests.append(f"{self.command} {self.path}")
                self.send_error(404)

            def log_message(self, format: str, *arguments: object) -> None:
                """Print nothing."""

            do_GET = do_HEAD = do_POST = do_PUT = do_CONNECT = answer

        self.requests = requests
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def address(self) -> str:
        """The host and the port, "127.0.0.1:8080"."""
        host, port = self._server.server_address[:2]
        return f"{host!s}:{port}"

    @property
    def environment(self) -> dict[str, str]:
        """The variables by which programs find their proxy."""
        names = ("http_proxy", "https_proxy", "ftp_proxy", "all_proxy")
        return {name: f"http://{self.address}" for name in (*names, *map(str.upper, names))} | {
            "no_proxy": "",
            "NO_PROXY": "",
        }

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
