"""One line of log for each request: method, route, status and time. Never an id, a phrase, an image or a token."""

import logging
import time
from typing import Protocol

from starlette.types import ASGIApp, Message, Receive, Scope, Send

log = logging.getLogger(__name__)

# Asked every few seconds by whoever watches the server.
QUIET_ROUTES = frozenset({"/healthz", "/readyz", "/metrics"})
NO_ROUTE = "-"

BUG = 500
# Nobody was answered; the code is that of nginx.
CLIENT_LEFT = 499


class CountRequest(Protocol):
    """Told of every answered request."""

    def __call__(self, *, route: str, status: int, seconds: float) -> None:
        """Count it."""
        ...


class RequestLog:
    """Logs each answered request.

    Args:
        app: What comes next.
        count: Told too, or None.
    """

    def __init__(self, app: ASGIApp, count: CountRequest | None) -> None:
        self._app = app
        self._count = count

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        statuses: list[int] = []
        # until the application ends without an exception, which is answered by 500 further out
        unanswered = BUG
        started = time.perf_counter()

        async def send_noted(message: Message) -> None:
            if message["type"] == "http.response.start":
                statuses.append(message["status"])
            await send(message)

        try:
            await self._app(scope, receive, send_noted)
            unanswered = CLIENT_LEFT
        finally:
            status, seconds = (statuses or [unanswered])[0], time.perf_counter() - started
            # the pattern of the route, not the address: addresses hold ids
            route = getattr(scope.get("route"), "path", NO_ROUTE)
            level = logging.DEBUG if route in QUIET_ROUTES else logging.INFO
            log.log(level, "%s %s %d %.0f ms", scope["method"], route, status, seconds * 1000)
            if self._count is not None:
                self._count(route=route, status=status, seconds=seconds)
