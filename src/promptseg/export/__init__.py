"""Export a model for other runtimes: a folder of graphs with all that a program needs to compute without promptseg."""

from promptseg.export.folder import export_model

__all__ = ["export_model"]
