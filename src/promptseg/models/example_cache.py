"""An example is embedded once, however many images it is asked of."""

import threading
from collections.abc import Callable
from weakref import WeakKeyDictionary

from torch import Tensor

from promptseg.prompts import ExemplarPrompt


class ExampleCache:
    """Vectors of the examples that are still alive, for weights that stay as they are. Threads may share it.

    Two prompts are one where they are the same object: nothing compares their pixels. A copy, also one that was
    pickled, starts empty, for the weights that are copied with it may be about to change.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._vectors: WeakKeyDictionary[ExemplarPrompt, Tensor] = WeakKeyDictionary()

    def __reduce__(self) -> tuple[type["ExampleCache"], tuple[()]]:
        return ExampleCache, ()

    def embed(self, prompt: ExemplarPrompt, embed: Callable[[ExemplarPrompt], Tensor]) -> Tensor:
        """Give an example's vector, by `embed` the first time."""
        with self._lock:
            vector = self._vectors.get(prompt)
        if vector is None:
            vector = embed(prompt)  # without the lock: others need not wait, and may at worst embed it too
            with self._lock:
                vector = self._vectors.setdefault(prompt, vector)
        return vector
