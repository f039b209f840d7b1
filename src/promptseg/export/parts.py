"""What an exported model consists of: graphs that an engine computes, and facts that its user needs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from promptseg.runtime import Step

if TYPE_CHECKING:
    import torch

ExportFormat = Literal["onnx", "openvino"]

# Name of axes from top to bottom; their examples become 3/4 as long, see `free`.
_VERTICAL = "rows"


@dataclass(frozen=True)
class FreeAxis:
    """An axis whose length differs from call to call.

    Attributes:
        name: Of a number that all axes of one graph with this name share.
        multiple_of: The length is that number times this.
    """

    name: str
    multiple_of: int = 1

    def __str__(self) -> str:
        return self.name if self.multiple_of == 1 else f"{self.multiple_of}*{self.name}"


@dataclass(frozen=True)
class ExportPart:
    """One graph.

    Attributes:
        name: Of its file, without suffix.
        build: Gives the step that PyTorch computes; imports torch.
        axes: Names of the free axes, by input and axis; exactly those that the step leaves free.
        summary: What it computes, in one line.
    """

    name: str
    build: Callable[[], Step]
    axes: Mapping[str, Mapping[int, FreeAxis]]
    summary: str


@dataclass(frozen=True)
class ExportedModel:
    """All of a model that is written.

    Attributes:
        parts: The graphs.
        facts: Entries of config.json beside the graphs: sizes, statistics, thresholds.
        script: Pieces of the example script, see the folder `run_script`.
        usage: How the example script is called.
        files: Text files by name, such as a vocabulary.
        weights: Names of pretrained weights in the graphs.
        python_only: What of the model is not in the graphs, a sentence each.
    """

    parts: tuple[ExportPart, ...]
    facts: Mapping[str, Any]
    script: tuple[str, ...]
    usage: str
    files: Mapping[str, str] = field(default_factory=dict)
    weights: tuple[str, ...] = ()
    python_only: tuple[str, ...] = ()


def free(step: Step, axes: Mapping[str, Mapping[int, FreeAxis]]) -> Step:
    """Let the named axes of a step be free, and make its example oblong.

    A square example would bind height and width to each other: an exporter can't tell two equal lengths apart.
    """
    example = {name: _oblong(tensor, axes.get(name, {})) for name, tensor in step.example.items()}
    return replace(step, example=example, free_axes={name: tuple(named) for name, named in axes.items()})


def _oblong(tensor: "torch.Tensor", axes: Mapping[int, FreeAxis]) -> "torch.Tensor":
    for axis, free_axis in axes.items():
        if free_axis.name == _VERTICAL:
            length = tensor.shape[axis] * 3 // 4 // free_axis.multiple_of * free_axis.multiple_of
            tensor = tensor.narrow(axis, 0, max(length, free_axis.multiple_of))
    return tensor.contiguous()
