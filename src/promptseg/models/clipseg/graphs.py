"""The steps of the network as graphs, for any engine. Torch is imported only to build a graph."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from promptseg.models.clipseg.visual_prompt import TokenMask
from promptseg.runtime import Graph, GraphSource, Runtime, Step

if TYPE_CHECKING:
    from promptseg.models.clipseg.network import ClipSeg

CODE = (
    "layers",
    "encoders",
    "models/clipseg/network.py",
    "models/clipseg/decoder.py",
    "models/clipseg/network_steps.py",
)

EmbedImage = Callable[[NDArray[np.float32], TokenMask | None], NDArray[np.float32]]


@dataclass(frozen=True, eq=False)
class ClipSegGraphs:
    """The steps. Shapes: T = 1 + h * w tokens, C channels of the tower, E channels of an embedding.

    Attributes:
        tokens: pixels (1, 3, H, W) -> tokens0, tokens1, ..., each (1, T, C), shallowest first.
        texts: token_ids, token_mask (N, T') -> embedding (N, E).
        decode: condition (N, E), tokens0, tokens1, ... -> logits (N, h', w').
        embed_image: pixels (1, 3, H, W), and a mask of the tokens, or None -> embedding (E,). PyTorch computes it with
            every engine, because the attention mask differs between exemplars.
    """

    tokens: Graph
    texts: Graph
    decode: Graph
    embed_image: EmbedImage


def graph_sources(identity: str, network: Callable[[], "ClipSeg"]) -> dict[str, GraphSource]:
    """Describe the steps that are graphs, by the names of the fields of `ClipSegGraphs`; arguments as `open_graphs`."""

    def build(name: str) -> Step:
        # imported here because it imports torch
        from promptseg.models.clipseg.network_steps import build_step

        return build_step(name, network())

    names = ("tokens", "texts", "decode")
    return {name: GraphSource(f"clipseg-{name}", identity, partial(build, name), CODE) for name in names}


def open_graphs(identity: str, network: Callable[[], "ClipSeg"], runtime: Runtime) -> ClipSegGraphs:
    """Open the graphs of a network; arguments and errors as `models.promptseg.graphs.open_graphs`."""

    def embed_image(pixels: NDArray[Any], token_mask: TokenMask | None) -> NDArray[np.float32]:
        from promptseg.models.clipseg.network_steps import embed_image

        return embed_image(network(), pixels, token_mask)

    graphs = {name: runtime.graph(source) for name, source in graph_sources(identity, network).items()}
    return ClipSegGraphs(**graphs, embed_image=embed_image)
