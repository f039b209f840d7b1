"""What is computed, without saying by which engine: named arrays in, named arrays out. Nothing here imports torch."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor, nn

Arrays = dict[str, NDArray[Any]]

# An exported graph names the node of each output by this and the output's name.
OUTPUT_PREFIX = "output."


class Graph(Protocol):
    """A part of a network, ready to compute. Threads may share it."""

    def __call__(self, **inputs: NDArray[Any]) -> Arrays:
        """Compute the outputs, by name, from the inputs, by name."""
        ...


@dataclass(frozen=True)
class Step:
    """A part of a network as PyTorch runs it, with an example to trace it by.

    Attributes:
        module: Takes the example's tensors in their order; returns a tensor, or a tuple of tensors.
        example: Tensors by name, on the CPU.
        free_axes: Axes of each input whose length differs from call to call; all other lengths are compiled in.
        outputs: Names of what the module returns.
    """

    module: "nn.Module"
    example: Mapping[str, "Tensor"]
    free_axes: Mapping[str, tuple[int, ...]]
    outputs: tuple[str, ...]


@dataclass(frozen=True)
class GraphSource:
    """Where a graph comes from. It costs nothing until an engine needs the network.

    Attributes:
        name: Of the graph, such as "sam-encode-768x1024"; a part of a directory's name.
        identity: Hash of all that decides its numbers: weights, configuration, sizes. Code and versions are added
            by the cache.
        build: Gives the step. It may import torch and read weights; the cache calls it only where it has no graph.
        code: Folders and files of this package, relative to it, whose code decides what is traced.
        int8_fits: File of this package, relative to it, of what was fitted to compute the graph in int8; None: nothing.
    """

    name: str
    identity: str
    build: Callable[[], Step]
    code: tuple[str, ...] = ()
    int8_fits: str | None = None
