"""A real server on a port of its own, in a thread of the test process, that can be stopped and started again."""

import threading
import time
from typing import Any

import uvicorn


class LiveServer:
    """Serves ASGI applications on one address, one after the other."""

    def __init__(self, app: Any) -> None:
        self.port = 0
        self._running: tuple[uvicorn.Server, threading.Thread] | None = None
        self.start(app)

    @property
    def url(self) -> str:
        """Address of the page."""
        return f"http://127.0.0.1:{self.port}/"

    def start(self, app: Any) -> None:
        """Serve an application, on the same port as the one before it."""
        config = uvicorn.Config(app, host="127.0.0.1", port=self.port, log_config=None, timeout_graceful_shutdown=5)
        socket = config.bind_socket()
        self.port = socket.getsockname()[1]
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([socket],), daemon=True)
        thread.start()
        deadline = time.monotonic() + 30
        while not server.started:
            thread.join(0.005)
            assert thread.is_alive() and time.monotonic() < deadline, "the server did not start"
        self._running = (server, thread)

    def stop(self) -> None:
        """End the application, and with it all connections."""
        if self._running is None:
            return
        server, thread = self._running
        self._running = None
        server.should_exit = True
        thread.join(30)
        assert not thread.is_alive(), "the server did not stop"
