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
        _LOCKS.all.add(self)

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
        _LOCKS.quiet.add(self)


class _Locks:
    """All locks of this process, and what a fork does with them."""

    def __init__(self) -> None:
        self.all: weakref.WeakSet[ForkLock] = weakref.WeakSet()
        self.quiet: weakref.WeakSet[QuietForkLock] = weakref.WeakSet()
        self._forking = threading.Lock()  # two forks at once would wait for each other's locks
        self._held: list[QuietForkLock] = []

    def wait_for_quiet(self) -> None:
        self._forking.acquire()
        for lock in list(self.quiet):
            lock.__enter__()
            self._held.append(lock)

    def go_on_in_parent(self) -> None:
        for lock in self._held:
            lock.__exit__(None, None, None)
        self._held = []
        self._forking.release()

    def go_on_in_child(self) -> None:
        self._forking = threading.Lock()
        self._held = []
        for lock in self.all:
            lock._renew()


_LOCKS = _Locks()

if hasattr(os, "register_at_fork"):  # not on Windows, which can't fork
    os.register_at_fork(
        before=_LOCKS.wait_for_quiet, after_in_parent=_LOCKS.go_on_in_parent, after_in_child=_LOCKS.go_on_in_child
    )
