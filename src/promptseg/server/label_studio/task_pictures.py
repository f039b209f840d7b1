"""Read the picture of a task: from the task, from the directory of local files, or from the one Label Studio.

A task names its picture by an address that anybody who may import tasks has written. So nothing is fetched but paths
below `/data/` of the address that the operator stated, without following redirects; and no file is read but those
below the operator's directory.
"""

import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from http.client import HTTPException
from pathlib import Path
from typing import IO, Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

from promptseg.server.core.turn import decode_base64
from promptseg.server.label_studio.picture_access import PictureAccess
from promptseg.server.refusals import RefusedRequest

TIMEOUT_S = 10.0
LOCAL_FILES = "/data/local-files/"
MAX_TOKEN_CHARACTERS = 4096


class TaskPictureError(RefusedRequest):
    """The picture of one task can't be had; other tasks may be fine."""


class TaskPictures:
    """Reads pictures of tasks.

    Args:
        access: What the operator allows.
        max_bytes: Of a picture's file.
    """

    def __init__(self, access: PictureAccess, *, max_bytes: int) -> None:
        self._access = access
        self._max_bytes = max_bytes
        self._sent_token: str | None = None
        self._opener = urllib.request.build_opener(_RefuseRedirect)

    def keep_token(self, token: str) -> None:
        """Keep the token that Label Studio sends along; it is sent to the operator's address only."""
        if len(token) <= MAX_TOKEN_CHARACTERS and token.isascii() and token.isprintable():
            self._sent_token = token

    def read(self, reference: str) -> bytes:
        """Read the file of a picture; it may take up to `TIMEOUT_S` seconds.

        Args:
            reference: As a task has it: a data URI, a path of Label Studio, or an address of it.

        Raises:
            TaskPictureError: The picture is none that may be read, or is not there (422), or is too large (413).
            RefusedRequest: Label Studio does not answer (502).
        """
        if reference.startswith("data:"):
            return _decode(reference)
        base = self._access.url or ""
        path = reference.removeprefix(base)
        if not path.startswith("/data/") or _climbs(path):
            raise _not_served(
                f"{_shown(reference)} is neither a data URI nor a file of Label Studio",
                "upload the pictures to Label Studio, or use its local files: docs/label-studio.md",
            )
        if path.startswith(LOCAL_FILES) and self._access.files_root is not None:
            return self._read_local(path, self._access.files_root)
        if self._access.url is None:
            raise _not_served(
                f"{_shown(reference)} is a file of Label Studio, whose address this server does not know",
                "start it with --label-studio http://localhost:8080, or the address that yours has",
            )
        return self._fetch(base + quote(path, safe="/%?=&+,;:@!$'()*~"))

    def _read_local(self, path: str, root: Path) -> bytes:
        (relative,) = parse_qs(urlsplit(path).query).get("d", [""])[:1]
        # a NUL ends a path; and a link may lead out of the directory too
        file = (root / relative.partition("\0")[0].lstrip("/")).resolve()
        if not file.is_relative_to(root) or not file.is_file():
            raise _not_served(
                f"there is no file {_shown(relative)} in the directory of local files",
                "start the server with --label-studio-files set to LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT",
            )
        with file.open("rb") as opened:
            return self._read_all(opened)

    def _fetch(self, url: str) -> bytes:
        headers = self._authorization()
        return self._open(urllib.request.Request(url, headers=headers))

    def _authorization(self) -> dict[str, str]:
        token = self._access.api_key or self._sent_token
        if token is None:
            return {}
        if token.count(".") != 2:
            return {"Authorization": f"Token {token}"}
        # a personal token is a JWT, which buys a short-lived one
        body = json.dumps({"refresh": token}).encode()
        address = f"{self._access.url}/api/token/refresh"
        answer = self._open(urllib.request.Request(address, body, {"Content-Type": "application/json"}))
        try:
            return {"Authorization": f"Bearer {json.loads(answer)['access']}"}
        except (ValueError, KeyError, TypeError) as error:
            raise _no_answer("it gave no access token") from error

    def _open(self, request: urllib.request.Request) -> bytes:
        try:
            with self._opener.open(request, timeout=TIMEOUT_S) as answer:
                return self._read_all(answer)
        except urllib.error.HTTPError as error:
            error.close()
            raise _refused_by_label_studio(error.code) from error
        except (OSError, HTTPException, ValueError) as error:
            raise _no_answer(str(getattr(error, "reason", error))) from error

    def _read_all(self, opened: IO[bytes]) -> bytes:
        encoded = opened.read(self._max_bytes + 1)
        if len(encoded) > self._max_bytes:
            raise TaskPictureError(
                413,
                "image_too_large",
                f"the picture of the task has more than {self._max_bytes:,} bytes, which is the limit",
                "make the picture smaller, or start the server with a larger --max-body-mb",
            )
        return encoded


class _RefuseRedirect(urllib.request.HTTPRedirectHandler):
    """Leaves a redirect as the answer that it is: it would lead to an address that the operator did not state."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> None:
        """Do not follow."""


def find_reference(data: Mapping[str, Any], field: str) -> str:
    """Find the picture in the data of a task.

    Raises:
        TaskPictureError: There is none.
    """
    reference = data.get(field)
    if not isinstance(reference, str) or not reference:
        raise _not_served(
            f"the task has no picture in its field {field!r:.80}", "the value of the tag Image names the field: $image"
        )
    return reference


def _decode(data_uri: str) -> bytes:
    try:
        return decode_base64(data_uri, what="the data URI")
    except RefusedRequest as error:
        raise _not_served(f"the picture of the task can't be read: {error}", error.way_out) from error


def _climbs(path: str) -> bool:
    """Whether a path has steps upward; in the query of local files they are checked against the directory."""
    return ".." in unquote(urlsplit(path).path).split("/")


def _shown(reference: str) -> str:
    return repr(reference if len(reference) <= 120 else f"{reference[:120]}…")


def _refused_by_label_studio(status: int) -> TaskPictureError:
    if 300 <= status < 400:
        return _not_served(
            "Label Studio sends the picture from another address, which is not fetched",
            "use uploaded or local files instead of cloud storage",
        )
    if status in (401, 403):
        return _not_served(
            f"Label Studio does not accept the token for the picture ({status})",
            "set LABEL_STUDIO_API_KEY to an access token of a user who may see the project",
        )
    return _not_served(f"Label Studio does not give the picture ({status})", "open the task there to see whether it is")


def _not_served(message: str, way_out: str) -> TaskPictureError:
    return TaskPictureError(422, "picture_not_served", message, way_out)


def _no_answer(reason: str) -> RefusedRequest:
    return RefusedRequest(
        502,
        "label_studio_unreachable",
        f"the picture can't be fetched from Label Studio: {reason}",
        "check --label-studio: the address must work on the machine of this server",
    )
