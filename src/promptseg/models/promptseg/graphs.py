"""The steps of the network as graphs, for any engine. Torch is imported only to build a graph."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from promptseg.encoders.pixels import input_size
from promptseg.models.promptseg.config import PromptSegConfig
from promptseg.runtime import Graph, GraphSource, Runtime, Step

if TYPE_CHECKING:
    from promptseg.models.promptseg.network import PromptSegNetwork

CODE = ("layers", "encoders", "models/promptseg/network.py", "models/promptseg/network_steps.py")

INT8_FITS = {"images": "models/promptseg/images_int8.npz"}


@dataclass(frozen=True, eq=False)
class PromptSegGraphs:
    """The four steps. Shapes: E = config.embedding_dim, K detections of V classes.

    Attributes:
        images: pixels (1, 3, H, W) -> pixel_embedding (1, E, h, w), detections (1, K, 4 + V) if the tower detects.
        texts: token_ids, token_mask (N, T) -> embedding (N, E).
        decode: pixel_embedding (1, E, h, w), texts (N, E) -> mask_logits (N, h, w), iou (N,), presence_logit (N,).
        exemplar: cells (E, h, w), coverage (h, w) -> embedding (E,).
    """

    images: Graph
    texts: Graph
    decode: Graph
    exemplar: Graph


def graph_sources(
    config: PromptSegConfig, identity: str, network: Callable[[], "PromptSegNetwork"]
) -> dict[str, GraphSource]:
    """Describe the steps by the names of the fields of `PromptSegGraphs`; arguments as `open_graphs`."""

    def build(name: str) -> Step:
        # imported here because it imports torch
        from promptseg.models.promptseg.network_steps import build_step

        return build_step(name, network(), input_size(config, (1, 1)))

    names = ("images", "texts", "decode", "exemplar")
    return {
        name: GraphSource(f"promptseg-{name}", identity, partial(build, name), CODE, INT8_FITS.get(name))
        for name in names
    }


def open_graphs(
    config: PromptSegConfig, identity: str, network: Callable[[], "PromptSegNetwork"], runtime: Runtime
) -> PromptSegGraphs:
    """Open the graphs of a network.

    Args:
        config: Config of the network.
        identity: Hash of its weights and its config.
        network: Returns the network in evaluation mode on the CPU; called only when a graph must be built.
        runtime: Engine and device that run the graphs.

    Raises:
        EngineError: The cache of compiled graphs can't be written.
        WeightsError: The network's weights can't be read.
    """
    sources = graph_sources(config, identity, network)
    return PromptSegGraphs(**{name: runtime.graph(source) for name, source in sources.items()})
