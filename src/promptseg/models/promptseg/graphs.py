"""The steps of the network as graphs, for any engine. Torch is imported only to build a graph."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from promptseg.encoders.pixels import fit_size
from promptseg.encoders.tower_facts import image_tower_facts
from promptseg.models.promptseg.config import PromptSegConfig
from promptseg.runtime import Graph, GraphSource, Runtime, Step

if TYPE_CHECKING:
    from promptseg.models.promptseg.network import PromptSegNetwork

CODE = ("layers", "encoders", "models/promptseg/network.py", "models/promptseg/network_steps.py")


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

    def source(name: str) -> GraphSource:
        def build() -> Step:
            # imported here because it imports torch
            from promptseg.models.promptseg.network_steps import build_step

            return build_step(name, network(), example_size(config))

        return GraphSource(f"promptseg-{name}", identity, build, CODE)

    return PromptSegGraphs(*(runtime.graph(source(name)) for name in ("images", "texts", "decode", "exemplar")))


def example_size(config: PromptSegConfig) -> tuple[int, int]:
    """Return the height and width of the input for tracing a graph, pixels."""
    multiple = image_tower_facts(config.image_tower).multiple
    return fit_size((1, 1), image_size=config.image_size, multiple=multiple, resize=config.resize)
