"""Locks that are free in a forked process, whatever other threads were doing at that moment."""

import os
import sys
import threading
import time
import weakref
from types import TracebackType

# What threads import while they load a model and compute; Python's lock of a module that is half imported would stay
# locked in a child.
_IMPORTED = frozenset({"promptseg", "torch", "openvino", "transformers", "safetensors", "scipy", "PIL"})
# Longest wait for an import, seconds: torch takes a few.
_IMPORT_SECONDS = 60.0


class ForkLock:
    """A lock for a `with` block. A process that is forked gets a free one, because the thread that held it is gone.

    What the lock guards must be sound at every moment, or be made anew by a process that finds itself forked.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        _FORKS.locks.add(self)

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

    No other lock may be taken while this one is held, and no process forked: a fork waits for all who hold one.
    """

    def __enter__(self) -> None:
        super().__enter__()
        try:
            _FORKS.begin()
        except BaseException:  # interrupted while it waits for a fork
            super().__exit__(None, None, None)
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _FORKS.end()
        super().__exit__(kind, error, trace)


class _Forks:
    """All locks of this process, how many quiet ones are held, and whether a fork is under way."""

    def __init__(self) -> None:
        self.locks: weakref.WeakSet[ForkLock] = weakref.WeakSet()
        self._changed = threading.Condition()
        self._num_busy = 0
        self._is_forking = False

    def begin(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: not self._is_forking)
            self._num_busy += 1

    def end(self) -> None:
        with self._changed:
            self._num_busy -= 1
            self._changed.notify_all()

    def wait_for_quiet(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: not self._is_forking)
            self._is_forking = True  # from now on nobody begins
            self._changed.wait_for(lambda: self._num_busy == 0)
        deadline = time.monotonic() + _IMPORT_SECONDS
        while _is_importing() and time.monotonic() < deadline:
            time.sleep(0.01)

    def go_on_in_parent(self) -> None:
        with self._changed:
            self._is_forking = False
            self._changed.notify_all()

    def go_on_in_child(self) -> None:
        self._changed = threading.Condition()
        self._num_busy, self._is_forking = 0, False
        for lock in self.locks:
            lock._renew()


def _is_importing() -> bool:
    """Whether some thread is importing a module that a child would wait for."""
    return any(
        name.partition(".")[0] in _IMPORTED and getattr(getattr(module, "__spec__", None), "_initializing", False)
        for name, module in list(sys.modules.items())
    )


_FORKS = _Forks()

if hasattr(os, "register_at_fork"):  # not on Windows, which can't fork
    os.register_at_fork(
        before=_FORKS.wait_for_quiet, after_in_parent=_FORKS.go_on_in_parent, after_in_child=_FORKS.go_on_in_child
    )
