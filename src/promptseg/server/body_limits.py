"""Limits on bodies: the size of one, the time it may take, and the memory of all that arrive at one time."""

import asyncio

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from promptseg.server.refusals import RefusedRequest, busy
from promptseg.server.settings import ServerSettings

# How long a refused body is still read and thrown away: most clients read the answer only after they sent everything.
DISCARD_S = 5.0


class ClientLeft(Exception):
    """The client closed the connection before its body was complete."""


class BodyLimits:
    """Reads each body before the application sees the request; refuses what is compressed, too large, slow or much.

    Args:
        app: What comes next; it gets the body in one message.
        settings: The limits.
    """

    def __init__(self, app: ASGIApp, settings: ServerSettings) -> None:
        self._app = app
        self._settings = settings
        self._num_reserved = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        try:
            num_bytes = self._reserve(headers)
        except RefusedRequest as refused:
            # who sent "Expect: 100-continue" has not sent the body yet
            if "expect" not in headers:
                await _discard(receive)
            await refused.answer()(scope, receive, send)
            return
        try:
            body = await self._read(receive)
            await self._app(scope, _replay(body, receive), send)
        except RefusedRequest as refused:
            await refused.answer()(scope, receive, send)
        except ClientLeft:
            return
        finally:
            self._num_reserved -= num_bytes

    def _reserve(self, headers: Headers) -> int:
        """Reserve memory for a body: its stated length, or the limit if it states none."""
        encoding = headers.get("content-encoding", "identity").strip().lower()
        if encoding != "identity":
            raise RefusedRequest(
                415,
                "unsupported_media_type",
                f"the body is compressed ({encoding:.20})",
                "send it without Content-Encoding: images are compressed already",
                headers={"Accept-Encoding": "identity"},
            )
        limit, limit_of_all = self._settings.max_body_bytes, self._settings.max_bodies_bytes
        stated = headers.get("content-length", "")
        num_bytes = int(stated) if stated.isdecimal() else limit * ("transfer-encoding" in headers)
        if num_bytes > limit:
            raise self._too_large(f"{num_bytes:,} bytes")
        if self._num_reserved + num_bytes > limit_of_all:
            raise busy(f"bodies of {self._num_reserved:,} bytes are in memory; the limit is {limit_of_all:,}")
        self._num_reserved += num_bytes
        return num_bytes

    async def _read(self, receive: Receive) -> bytes:
        chunks: list[bytes] = []
        num_bytes = 0
        is_complete = False
        try:
            async with asyncio.timeout(self._settings.max_body_s):
                while not is_complete:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise ClientLeft
                    chunks.append(message.get("body", b""))
                    num_bytes += len(chunks[-1])
                    is_complete = not message.get("more_body", False)
                    if num_bytes > self._settings.max_body_bytes:
                        if not is_complete:
                            await _discard(receive)
                        raise self._too_large("more bytes")
        except TimeoutError as error:
            raise RefusedRequest(
                408,
                "body_too_slow",
                f"the body did not arrive within {self._settings.max_body_s:g} seconds, which is the limit",
                "make the image smaller, or send it over a faster line",
                headers={"Connection": "close"},
            ) from error
        return b"".join(chunks)

    def _too_large(self, size: str) -> RefusedRequest:
        return RefusedRequest(
            413,
            "body_too_large",
            f"the body has {size}; the limit is {self._settings.max_body_bytes:,} bytes",
            "make the image smaller, or start the server with a larger --max-body-mb",
        )


def _replay(body: bytes, receive: Receive) -> Receive:
    """Give the body in one message, then whatever comes."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive_again() -> Message:
        return messages.pop() if messages else await receive()

    return receive_again


async def _discard(receive: Receive) -> None:
    """Read the rest of a body for a while and throw it away."""
    try:
        async with asyncio.timeout(DISCARD_S):
            while (await receive()).get("more_body", False):
                pass
    except TimeoutError:
        return
