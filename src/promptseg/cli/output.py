"""Output on streams whose encoding lacks letters, such as a Windows console's (cp1252)."""

import io
import json
import os
import sys
from typing import Any


def open_missing_streams() -> None:
    """Give streams that were closed before the start a place: nothing is read, and what is written is dropped.

    Else a file that is opened later would get the number of a closed one, and take what libraries write to it.
    """
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        if getattr(sys, name) is not None:
            continue
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
        setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: PTH123 (it stays open)


def escape_unencodable() -> None:
    r"""Let stdout and stderr write what their encoding lacks as escapes ("\u732b"), instead of raising."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def dump_json(values: Any, *, indent: int | None = None) -> str:
    """Write JSON for stdout: in plain letters where it is UTF-8, else in ASCII, which every encoding has."""
    encoding = (getattr(sys.stdout, "encoding", None) or "ascii").lower().replace("_", "-")
    return json.dumps(values, indent=indent, ensure_ascii=encoding not in ("utf-8", "utf8"))
