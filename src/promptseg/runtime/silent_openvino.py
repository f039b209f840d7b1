"""OpenVINO without its reports: its conversion tools send an event to an analytics host whenever they are imported.

Every module of this package takes `openvino` from here. Where the reporting package can't be imported, OpenVINO uses a
stub of its own, so it is hidden for the time of the import. It also writes no files to the home directory then.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

_REPORTER = "openvino_telemetry"


@contextmanager
def _hidden(module: str) -> Iterator[None]:
    if module in sys.modules:
        yield  # the user imported it
        return
    sys.modules[module] = None  # type: ignore[assignment]  # an import of it raises ImportError
    try:
        yield
    finally:
        del sys.modules[module]


with _hidden(_REPORTER):
    import openvino

__all__ = ["openvino"]
