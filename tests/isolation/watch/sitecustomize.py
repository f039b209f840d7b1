"""Watches a Python process and its Python children: connections are refused, they and files elsewhere are recorded.

Python imports this module at its start, because its folder is in PYTHONPATH. One JSON line for each event is appended
to the file WATCH_LOG. Only the address WATCH_PROXY (host:port) may be connected to, and only below the folders of
WATCH_FOLDERS may files be written without a record.
"""

import errno
import json
import os
import sys
from typing import Any

_LOG = os.environ["WATCH_LOG"]
_PROXY = os.environ["WATCH_PROXY"]
_FOLDERS = (*os.environ["WATCH_FOLDERS"].split(os.pathsep), "/dev/", "/proc/")
_LOOKUPS = ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyname_ex")
_OWN_HOSTS = ("", "localhost", "127.0.0.1", "::1")
# Calls that create something, and which of their arguments is its path.
_CREATE = {"os.mkdir": 0, "os.rename": 1, "os.link": 1, "os.symlink": 1}


def _record(kind: str, what: object) -> None:
    descriptor = os.open(_LOG, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, (json.dumps({"kind": kind, "what": str(what), "process": sys.argv[:3]}) + "\n").encode())
    finally:
        os.close(descriptor)


def _is_written(flags: object) -> bool:
    return isinstance(flags, int) and bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    if event in ("socket.connect", "socket.sendto"):
        address = arguments[1]
        if isinstance(address, tuple) and f"{address[0]}:{address[1]}" != _PROXY:
            _record("connection", address)
            raise OSError(errno.ENETUNREACH, os.strerror(errno.ENETUNREACH))
    elif event in _LOOKUPS:
        host = arguments[0].decode() if isinstance(arguments[0], bytes) else arguments[0]
        if host not in (None, *_OWN_HOSTS):
            _record("lookup", host)
    elif event == "open" and _is_written(arguments[2]):
        _check_path(arguments[0])
    elif event in _CREATE:
        _check_path(arguments[_CREATE[event]])


def _check_path(path: object) -> None:
    if isinstance(path, str | bytes | os.PathLike):
        place = os.path.abspath(os.fsdecode(path))  # noqa: PTH100 (Path.resolve follows links)
        if place != _LOG and not place.startswith(_FOLDERS):
            _record("file", place)


sys.addaudithook(_watch)
