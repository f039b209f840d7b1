"""The steps of the network as graphs, for any engine. Torch is imported only to build a graph."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from promptseg.encoders.pixels import input_size
from promptseg.models.promptseg_s1.config import PromptSegS1Config
from promptseg.runtime import Graph, GraphSource, Runtime, Step

if TYPE_CHECKING:
    from promptseg.models.promptseg_s1.network import PromptSegS1Network

CODE = ("layers", "encoders", "models/promptseg_s1/network.py", "models/promptseg_s1/network_steps.py")


@dataclass(frozen=True, eq=False)
class PromptSegS1Graphs:
    """The three steps. Shapes: D = config.dim, T prompt tokens.

    Attributes:
        images: pixels (1, 3, H, W) -> fused (1, D, h, w), and fine (1, fine_dim, hf, wf) if there is a finer map.
        texts: token_ids, token_mask (N, T') -> tokens (N, T, D), tokens_mask (N, T).
        decode: fused, fine, tokens, tokens_mask -> mask_logits (N, hm, wm), iou (N,), presence_logit (N,).
    """

    images: Graph
    texts: Graph
    decode: Graph


def open_graphs(
    config: PromptSegS1Config, identity: str, network: Callable[[], "PromptSegS1Network"], runtime: Runtime
) -> PromptSegS1Graphs:
    """Open the graphs of a network; arguments and errors as `promptseg.graphs.open_graphs`."""

    def build(name: str) -> Step:
        # imported here because it imports torch
        from promptseg.models.promptseg_s1.network_steps import build_step

        return build_step(name, network(), input_size(config, (1, 1)))

    sources = (
        GraphSource(f"promptseg-s1-{name}", identity, partial(build, name), CODE)
        for name in ("images", "texts", "decode")
    )
    return PromptSegS1Graphs(*map(runtime.graph, sources))
