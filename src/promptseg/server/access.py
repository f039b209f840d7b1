"""Who may ask: the Host and Origin checks, the token, and the headers that confine the page."""

import hmac
import ipaddress
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Collection

from starlette.datastructures import URL, Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from promptseg.server.refusals import RefusedRequest
from promptseg.server.settings import ServerSettings

# The page uses its own files and images of the user; nothing else is loaded, and no other page may frame it.
CONTENT_SECURITY_POLICY = (
    "default-src 'self'; img-src 'self' blob: data:; object-src 'none'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
SAFE_HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class SiteCheck:
    """Refuses requests for other names and from other sites, and adds the safe headers to every answer.

    Args:
        app: What comes next.
        settings: Hosts and origins.
    """

    def __init__(self, app: ASGIApp, settings: ServerSettings) -> None:
        self._app = app
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_safe(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SAFE_HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        headers = Headers(scope=scope)
        try:
            self._check_host(headers.get("host", ""))
            self._check_origin(headers)
        except RefusedRequest as refused:
            await refused.answer()(scope, receive, send_safe)
            return
        await self._app(scope, receive, send_safe)

    def _check_host(self, host: str) -> None:
        """Refuse names: a page of another site can point a name of its own at this server, but not an address."""
        name = _host_name(host)
        if name != "localhost" and not _is_address(name) and name not in self._settings.allowed_hosts:
            raise RefusedRequest(
                421,
                "unknown_host",
                f"this server does not go by the name {name!r:.80}",
                "ask it by its address, or start it with --allow-host NAME",
            )

    def _check_origin(self, headers: Headers) -> None:
        origin = headers.get("origin")
        if origin is None or origin in self._settings.allowed_origins:
            return
        # the scheme is not compared: a proxy in front may speak https
        _, _, netloc = origin.partition("://")
        if netloc.lower() != headers.get("host", "").lower():
            raise RefusedRequest(
                403,
                "foreign_origin",
                f"pages of {origin!r:.80} may not use this server",
                "open the page that this server serves, or start it with --allow-origin ORIGIN",
            )


class TokenCheck:
    """Refuses requests without the token, before their bodies are read.

    Args:
        app: What comes next.
        token: The token; None: none is needed.
        public: Addresses that need no token: the page, and whether the server is alive.
    """

    def __init__(self, app: ASGIApp, token: str | None, public: Collection[str]) -> None:
        self._app = app
        self._token = token
        self._public = frozenset(public)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] == "http" and self._token is not None and scope["path"] not in self._public:
            shown = _shown_token(Headers(scope=scope))
            if shown is None or not hmac.compare_digest(shown.encode(), self._token.encode()):
                await _wrong_token("none" if shown is None else "a wrong one").answer()(scope, receive, send)
                return
        await self._app(scope, receive, send)


def _wrong_token(has: str) -> RefusedRequest:
    return RefusedRequest(
        401,
        "wrong_token",
        f"this server needs a token, and the request has {has}",
        "send the header `Authorization: Bearer TOKEN`; the page takes it from the address: /#token=TOKEN",
        headers={"WWW-Authenticate": "Bearer"},
    )


def _shown_token(headers: Headers) -> str | None:
    """Read the token of a request: a bearer token, the password of HTTP Basic, or the header `Token`."""
    scheme, _, value = headers.get("authorization", "").partition(" ")
    match scheme.lower():
        case "bearer":
            return value.strip()
        case "basic":
            try:
                _, _, password = b64decode(value, validate=True).decode().partition(":")
            except (Base64Error, ValueError):
                return ""
            return password
        case _:
            return headers.get("token")


def _host_name(host: str) -> str:
    """Give the name in a Host header, without the port; "" if it is malformed."""
    try:
        return (URL(f"http://{host}").hostname or "").lower()
    except ValueError:
        return ""


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
