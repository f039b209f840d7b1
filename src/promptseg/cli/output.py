"""Output on streams whose encoding lacks letters, such as a Windows console's (cp1252)."""

import io
import json
import sys
from typing import Any


def escape_unencodable() -> None:
    r"""Let stdout and stderr write what their encoding lacks as escapes ("\u732b"), instead of raising."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def dump_json(values: Any, *, indent: int | None = None) -> str:
    """Write JSON for stdout: in plain letters where it is UTF-8, else in ASCII, which every encoding has."""
    encoding = (getattr(sys.stdout, "encoding", None) or "ascii").lower().replace("_", "-")
    return json.dumps(values, indent=indent, ensure_ascii=encoding not in ("utf-8", "utf8"))
