"""The steps of the network as graphs, for any engine. Torch is imported only to build a graph."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal

from promptseg.ops.deferred import Deferred
from promptseg.runtime import Graph, GraphSource, Runtime, Step

if TYPE_CHECKING:
    from promptseg.layers.region_pooling import Pooling
    from promptseg.models.uniovseg.network import UniOvSeg

PromptPart = Literal["point", "points", "box"]
Part = PromptPart | Literal["encode", "regions", "texts"]
PARTS: tuple[Part, ...] = ("encode", "point", "points", "box", "regions", "texts")

PIXEL_NAMES = ("map32", "map16", "map8", "mask_features")
REGION_NAMES = ("clip", "reduced4", "reduced8", "reduced16", "reduced32")
FEATURE_NAMES = (*PIXEL_NAMES, *REGION_NAMES)

CODE = ("layers", "encoders", "models/uniovseg/network.py", "models/uniovseg/network_steps.py")


@dataclass(frozen=True, eq=False)
class UniOvSegGraphs:
    """The steps; each is opened when it is first needed.

    "encode": pixels (1, 3, S, S) -> the maps of `FEATURE_NAMES`, or of `PIXEL_NAMES` in a model that takes no names,
    which has no "regions" and "texts". "point", "box": the maps of `PIXEL_NAMES` and boxes
    (N, 4) as shares of the sides -> masks (N, K, S / 4, S / 4), scores (N, K). "points": also boxes (N, P, 4) and
    on_object (N, P). "regions": the maps of `REGION_NAMES` and masks (R, S / 4, S / 4) as logits -> vectors (R, E).
    "texts": token_ids, token_mask (N, T) -> vectors (N, E).

    Attributes:
        opened: The graphs.
    """

    opened: dict[Part, Deferred[Graph]]

    def __getitem__(self, part: Part) -> Graph:
        return self.opened[part].get()


def open_graphs(
    identity: str, network: Callable[[], "UniOvSeg"], runtime: Runtime, *, pooling: "Pooling"
) -> UniOvSegGraphs:
    """Open the graphs of a network.

    Args:
        identity: Hash of config and weights.
        network: Returns the network in evaluation mode on the CPU; called only if a graph must be built.
        runtime: Engine and device.
        pooling: How the cells of a region are weighted.
    """

    def build(part: Part) -> Step:
        # imported here because it imports torch
        from promptseg.models.uniovseg.network_steps import build_step

        return build_step(part, network(), pooling)

    def open_part(part: Part) -> Graph:
        return runtime.graph(GraphSource(f"uniovseg-{part}", f"{identity} {pooling}", partial(build, part), CODE))

    return UniOvSegGraphs({part: Deferred(partial(open_part, part)) for part in PARTS})
