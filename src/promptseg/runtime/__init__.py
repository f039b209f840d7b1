"""One runtime for every model: engine choice, compile, cache, run. Arrays cross its border, never tensors."""

from promptseg.runtime.engine import ENGINES, Engine, Runtime
from promptseg.runtime.graph import Arrays, Graph, GraphSource, Step

__all__ = ["ENGINES", "Arrays", "Engine", "Graph", "GraphSource", "Runtime", "Step"]
