"""A lock that is free in a forked process, whatever another thread was doing at that moment."""

import os
import threading
import weakref
from types import TracebackType

_LOCKS: "weakref.WeakSet[ForkLock]" = weakref.WeakSet()


class ForkLock:
    """A lock for a `with` block. A process that is forked gets a free one, because the thread that held it is gone.

    What the lock guards must be sound at every moment, or be made anew by a process that finds itself forked.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        _LOCKS.add(self)

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock.release()

    def _renew(self) -> None:
        self._lock = threading.Lock()


def _renew_all() -> None:
    for lock in _LOCKS:
        lock._renew()


if hasattr(os, "register_at_fork"):  # not on Windows, which can't fork
    os.register_at_fork(after_in_child=_renew_all)
