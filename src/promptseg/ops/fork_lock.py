"""Locks that are free in a forked process, whatever other threads were doing at that moment."""

import os
import threading
import weakref
from types import TracebackType


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


class QuietForkLock(ForkLock):
    """A `ForkLock` that a fork waits for, because what it guards holds locks of its own that no child could free.

    No other lock may be taken while this one is held: a fork holds all of them at once.
    """

    def __init__(self) -> None:
        super().__init__()
        _QUIET_LOCKS.add(self)


_LOCKS: "weakref.WeakSet[ForkLock]" = weakref.WeakSet()
_QUIET_LOCKS: "weakref.WeakSet[QuietForkLock]" = weakref.WeakSet()
_FORKING = threading.Lock()  # two forks at once would wait for each other's locks
_held_for_fork: list[QuietForkLock] = []


def _wait_for_quiet() -> None:
    _FORKING.acquire()
    for lock in list(_QUIET_LOCKS):
        lock._lock.acquire()
        _held_for_fork.append(lock)


def _go_on_in_parent() -> None:
    for lock in _held_for_fork:
        lock._lock.release()
    _held_for_fork.clear()
    _FORKING.release()


def _renew_all() -> None:
    global _FORKING
    _FORKING = threading.Lock()
    _held_for_fork.clear()
    for lock in _LOCKS:
        lock._renew()


if hasattr(os, "register_at_fork"):  # not on Windows, which can't fork
    os.register_at_fork(before=_wait_for_quiet, after_in_parent=_go_on_in_parent, after_in_child=_renew_all)
