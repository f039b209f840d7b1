"""Prompt-guided image segmentation: give a phrase, a click, a box or an example, and get masks.

    import promptseg

    model = promptseg.load()
    result = model.segment("photo.jpg", ["the cat's ear", "grass"])
    result["grass"].mask, result["grass"].presence, result["grass"].instances

Names are imported on first use: `import promptseg` alone imports nothing heavy. Errors are in `promptseg.errors`.
"""

from __future__ import annotations

import importlib
import operator
import warnings

TYPE_CHECKING = False  # and not of `typing`, whose import takes as long as that of all else together
if TYPE_CHECKING:
    import typing

    from promptseg import errors as errors
    from promptseg.embedding import Embedding
    from promptseg.errors import ImageError, OutputError, PromptError, PromptsegError, WeightsError
    from promptseg.formats.dataset import read, write
    from promptseg.images import ImageLimits, read_image, read_mask
    from promptseg.labeling import autolabel
    from promptseg.langsam import LangSAM
    from promptseg.loading import list_models, load, segment
    from promptseg.predictor import Predictor
    from promptseg.prompts import BoxPrompt, ExemplarPrompt, MaskPrompt, PointPrompt, Query, TextPrompt
    from promptseg.results import Instance, QueryResult, Segmentation

__all__ = [
    "BoxPrompt",
    "Embedding",
    "ExemplarPrompt",
    "ImageError",
    "ImageLimits",
    "Instance",
    "LangSAM",
    "MaskPrompt",
    "OutputError",
    "PointPrompt",
    "Predictor",
    "PromptError",
    "PromptsegError",
    "Query",
    "QueryResult",
    "Segmentation",
    "TextPrompt",
    "WeightsError",
    "autolabel",
    "list_models",
    "load",
    "read",
    "read_image",
    "read_mask",
    "segment",
    "write",
]

_HOMES = {
    "embedding": ("Embedding",),
    "errors": ("ImageError", "OutputError", "PromptError", "PromptsegError", "WeightsError"),
    "formats.dataset": ("read", "write"),
    "images": ("ImageLimits", "read_image", "read_mask"),
    "labeling": ("autolabel",),
    "langsam": ("LangSAM",),
    "loading": ("list_models", "load", "segment"),
    "predictor": ("Predictor",),
    "prompts": ("BoxPrompt", "ExemplarPrompt", "MaskPrompt", "PointPrompt", "Query", "TextPrompt"),
    "results": ("Instance", "QueryResult", "Segmentation"),
}

# Public names of version 0.1 -> module:attribute to use instead. They will be removed in 0.3.
_OLD_NAMES = {
    "AutomaticMask": "sam.automatic:AutomaticMask",
    "AutomaticSettings": "sam.automatic:AutomaticSettings",
    "CheckpointError": "errors:CheckpointError",
    "DataError": "errors:DataError",
    "EngineError": "errors:EngineError",
    "LangSamConfig": "models.grounded_sam.config:GroundedSamConfig",
    "MissingExtraError": "errors:MissingExtraError",
    "OfflineError": "errors:OfflineError",
    "OutsideImageError": "errors:OutsideImageError",
    "OutsidePictureError": "errors:OutsideImageError",
    "RecipeError": "errors:RecipeError",
    "Tiles": "ops.windows:Tiles",
    "TrainingError": "errors:TrainingError",
    "UnknownModelError": "errors:UnknownModelError",
    "UnsupportedPromptError": "errors:UnsupportedPromptError",
    "draw_everything": "everything:draw_everything",
    "generate_masks": "sam.automatic:generate_masks",
    "load_masker": "_deprecated:load_masker",
    "read_exemplar": "prompts:ExemplarPrompt.from_file",
    "segment_everything": "everything:segment_everything",
}


def __getattr__(name: str) -> typing.Any:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(f"promptseg.{home}"), name)
    if name == "errors":
        return importlib.import_module("promptseg.errors")
    if name == "__version__":
        return importlib.import_module("importlib.metadata").version("promptseg")
    if name in _OLD_NAMES:
        return _find_old(name)
    raise AttributeError(f"module 'promptseg' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__", "errors"]


def _find_old(name: str) -> typing.Any:
    module, _, attribute = _OLD_NAMES[name].partition(":")
    warnings.warn(
        f"promptseg.{name} is deprecated; use promptseg.{module}.{attribute}", DeprecationWarning, stacklevel=3
    )
    return operator.attrgetter(attribute)(importlib.import_module(f"promptseg.{module}"))
