"""Which files a block of code opens, as Python itself reports it."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def opened_files() -> Iterator[list[str]]:
    """Note the path of every file that is opened in the block, once for each time."""
    opened: list[str] = []
    is_on = True

    def note(event: str, arguments: tuple[object, ...]) -> None:  # a hook stays for good, and then does nothing
        if is_on and event == "open" and isinstance(arguments[0], str | os.PathLike):
            opened.append(os.fspath(arguments[0]))

    sys.addaudithook(note)
    try:
        yield opened
    finally:
        is_on = False
