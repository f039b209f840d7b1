"""A value that is computed on first use."""

from collections.abc import Callable
from typing import Generic, TypeVar

from promptseg.ops.fork_lock import ForkLock

Value = TypeVar("Value")


class Deferred(Generic[Value]):
    """Computes a value once, on first use, in the first thread that needs it; other threads wait.

    Args:
        compute: Computes the value; the reference to it is released afterwards.
    """

    def __init__(self, compute: Callable[[], Value]) -> None:
        self._compute: Callable[[], Value] | None = compute
        self._lock = ForkLock()
        self._values: list[Value] = []

    @classmethod
    def of(cls, value: Value) -> "Deferred[Value]":
        """Wrap a value that is already known."""
        deferred = cls(lambda: value)
        deferred.get()
        return deferred

    @property
    def is_known(self) -> bool:
        """Whether the value has been computed."""
        return bool(self._values)

    def get(self) -> Value:
        """Return the value; it is computed by the first call. Errors are those of `compute`."""
        with self._lock:
            if not self._values:
                assert self._compute is not None
                self._values.append(self._compute())
                self._compute = None
        return self._values[0]
