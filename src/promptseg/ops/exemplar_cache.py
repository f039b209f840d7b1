"""Cache of exemplar vectors, so that an exemplar is embedded once for any number of images."""

from collections.abc import Callable
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from promptseg.ops.fork_lock import ForkLock
from promptseg.prompts import ExemplarPrompt

Floats = NDArray[np.float32]


class ExemplarCache:
    """Cache of the vectors of exemplars that still exist. Threads may share it.

    Prompts are compared by identity, not by their pixels. A copy or an unpickled cache starts empty.
    """

    def __init__(self) -> None:
        self._lock = ForkLock()
        self._vectors: WeakKeyDictionary[ExemplarPrompt, Floats] = WeakKeyDictionary()

    def __reduce__(self) -> tuple[type["ExemplarCache"], tuple[()]]:
        return ExemplarCache, ()

    def embed(self, prompt: ExemplarPrompt, embed: Callable[[ExemplarPrompt], Floats]) -> Floats:
        """Return the vector of an exemplar, shape (E,); the first call computes it with `embed`."""
        with self._lock:
            vector = self._vectors.get(prompt)
        if vector is None:
            vector = embed(prompt)  # without the lock: others don't wait, and at worst embed it too
            with self._lock:
                vector = self._vectors.setdefault(prompt, vector)
        return vector
