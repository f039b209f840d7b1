"""The address of a server, and one exchange with it by the standard library's HTTP client.

The user gives the address: nothing else is ever asked, no redirect is followed, and no proxy of the environment is
used. Each exchange opens a connection of its own, so that threads may share an address.
"""

import http.client
import json
import time
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

from promptseg.errors import (
    CheckpointError,
    ImageError,
    ImageTooLargeError,
    OutsideImageError,
    PromptError,
    PromptsegError,
    ServerError,
    UnknownModelError,
    UnsupportedPromptError,
)

CONNECT_S = 10.0
# How often a busy server is asked again; it says after how many seconds.
MAX_TRIES, LONGEST_PAUSE_S = 30, 10.0
# Of an answer that explains nothing.
_SHOWN_CHARACTERS = 80

# The codes of docs/serve.md whose cause is the request: the errors that `Predictor.segment` raises for it.
_ERRORS: dict[str, type[PromptsegError]] = {
    "body_too_large": ImageTooLargeError,
    "damaged_model": CheckpointError,
    "image_too_large": ImageTooLargeError,
    "invalid_prompt": PromptError,
    "outside_image": OutsideImageError,
    "too_many_queries": PromptError,
    "unknown_model": UnknownModelError,
    "unreadable_image": ImageError,
    "unsupported_prompt": UnsupportedPromptError,
}


class ImageForgottenError(ServerError):
    """The server stores an image no longer: it is to be sent again."""


@dataclass(frozen=True)
class ServerAddress:
    """Where a server is, and what it needs.

    Attributes:
        url: As messages name it, without a token.
        host: Name or number.
        port: Of the server.
        is_secure: Whether it speaks HTTPS.
        prefix: Path before that of each route, for a server behind a proxy: "" or "/segment".
        token: Shown with each request; None: none.
        timeout_s: How long an answer may take.
    """

    url: str
    host: str
    port: int
    is_secure: bool
    prefix: str
    token: str | None = field(repr=False)
    timeout_s: float

    @classmethod
    def parse(cls, url: str, *, token: str | None, timeout_s: float) -> Self:
        """Take an address apart; the `#token=` of the address that `promptseg serve` prints counts too.

        Raises:
            ServerError: It is no address of a server, or the token has characters that no header can hold.
        """
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise ServerError(f"{url!r:.200} is no address of a server: {error}") from error
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None or parts.query:
            raise ServerError(f"{url!r:.200} is no address of a server; write it as http://127.0.0.1:8000")
        token = token or next(iter(parse_qs(parts.fragment).get("token", [])), None)
        if token is not None and not (token.isascii() and token.isprintable() and " " not in token):
            raise ServerError("a token is made of printable ASCII characters without spaces")
        return cls(
            url=f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}",
            host=parts.hostname,
            port=port or (443 if parts.scheme == "https" else 80),
            is_secure=parts.scheme == "https",
            prefix=parts.path.rstrip("/"),
            token=token,
            timeout_s=timeout_s,
        )

    def ask(self, method: str, path: str, body: bytes | None = None, *, media_type: str = "application/json") -> Any:
        """Send a request, and again while the server is busy; give the JSON of its answer.

        Args:
            method: Such as "GET".
            path: Of the route.
            body: Of the request.
            media_type: Of the body.

        Raises:
            ServerError: The server does not answer, or refuses the request for a reason of its own.
            PromptsegError: The request is refused for what it asks; the error is that of `Predictor.segment`.
        """
        num_tries = 0
        while True:
            status, retry_after, content = self._exchange(method, path, body, media_type)
            num_tries += 1
            if status < 300:
                return self._read_json(content)
            refusal = self._read_refusal(status, content)
            if refusal["code"] != "busy" or num_tries == MAX_TRIES:
                raise self._to_error(refusal)
            time.sleep(min(float(retry_after) if retry_after.isdecimal() else 1.0, LONGEST_PAUSE_S))

    def _exchange(self, method: str, path: str, body: bytes | None, media_type: str) -> tuple[int, str, bytes]:
        """Send a request once; give status, Retry-After and body of the answer."""
        kind = http.client.HTTPSConnection if self.is_secure else http.client.HTTPConnection
        connection = kind(self.host, self.port, timeout=CONNECT_S)
        headers = {} if self.token is None else {"Authorization": f"Bearer {self.token}"}
        if body is not None:
            headers["Content-Type"] = media_type
        try:
            connection.connect()
            connection.sock.settimeout(self.timeout_s)
            connection.request(method, self.prefix + path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.headers.get("Retry-After", ""), answer.read()
        except TimeoutError as error:
            raise ServerError(f"{self.url}: no answer in time; is the server there, and is it very busy?") from error
        except (OSError, http.client.HTTPException) as error:
            raise ServerError(
                f"{self.url}: no server answers ({error or type(error).__name__}); `promptseg serve` starts one"
            ) from error
        finally:
            connection.close()

    def _read_json(self, content: bytes) -> Any:
        try:
            return json.loads(content)
        except ValueError as error:
            raise self.no_promptseg(content.decode(errors="replace")) from error

    def _read_refusal(self, status: int, content: bytes) -> dict[str, str]:
        """Read the body that every answer of 400 or more of `promptseg serve` has."""
        try:
            error = json.loads(content)["error"]
            return {name: str(error[name]) for name in ("code", "message", "way_out")}
        except (ValueError, KeyError, TypeError) as error:
            raise self.no_promptseg(f"status {status}") from error

    def _to_error(self, refusal: dict[str, str]) -> PromptsegError:
        code, message = refusal["code"], refusal["message"]
        if code in _ERRORS:
            return _ERRORS[code](message)
        if code == "wrong_token":
            has = "none was given" if self.token is None else "this one is wrong"
            return ServerError(
                f"{self.url}: the server needs its token, and {has}; --token or PROMPTSEG_TOKEN gives it"
            )
        kind = ImageForgottenError if code == "image_not_found" else ServerError
        return kind(f"{self.url}: {message} ({code}); {refusal['way_out']}")

    def no_promptseg(self, said: str) -> ServerError:
        """Make the error of a server whose answer is none of `promptseg serve`."""
        shown = " ".join(said.split())[:_SHOWN_CHARACTERS]
        return ServerError(f"{self.url}: what answers there is no `promptseg serve` ({shown or 'an empty answer'})")
