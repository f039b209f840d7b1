"""Prompt-guided image segmentation: point at something with words and get its mask.

    import promptseg

    model = promptseg.load()
    result = model.segment("photo.jpg", ["the cat's ear", "grass"])
    result[0].mask, result[0].presence, result[0].instances

Names are imported when they are first used: `import promptseg` alone brings in nothing heavy.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from promptseg.embedding import Embedding
    from promptseg.errors import (
        CheckpointError,
        DataError,
        EngineError,
        ImageError,
        MissingExtraError,
        OfflineError,
        OutputError,
        OutsideImageError,
        PromptError,
        PromptsegError,
        RecipeError,
        TrainingError,
        UnknownModelError,
        UnsupportedPromptError,
        WeightsError,
    )
    from promptseg.everything import draw_everything, segment_everything
    from promptseg.exemplar_files import read_exemplar
    from promptseg.formats.dataset import write
    from promptseg.images import ImageLimits, read_image, read_mask
    from promptseg.langsam import LangSAM
    from promptseg.models.grounded_sam.config import LangSamConfig
    from promptseg.ops.windows import Tiles
    from promptseg.predictor import Predictor, load
    from promptseg.prompts import BoxPrompt, ExemplarPrompt, MaskPrompt, PointPrompt, Query, TextPrompt
    from promptseg.results import Instance, QueryResult, Segmentation
    from promptseg.sam.automatic import AutomaticMask, AutomaticSettings, generate_masks
    from promptseg.sam.load import load_masker

__all__ = [
    "AutomaticMask",
    "AutomaticSettings",
    "BoxPrompt",
    "CheckpointError",
    "DataError",
    "Embedding",
    "EngineError",
    "ExemplarPrompt",
    "ImageError",
    "ImageLimits",
    "Instance",
    "LangSAM",
    "LangSamConfig",
    "MaskPrompt",
    "MissingExtraError",
    "OfflineError",
    "OutputError",
    "OutsideImageError",
    "PointPrompt",
    "Predictor",
    "PromptError",
    "PromptsegError",
    "Query",
    "QueryResult",
    "RecipeError",
    "Segmentation",
    "TextPrompt",
    "Tiles",
    "TrainingError",
    "UnknownModelError",
    "UnsupportedPromptError",
    "WeightsError",
    "draw_everything",
    "generate_masks",
    "load",
    "load_masker",
    "read_exemplar",
    "read_image",
    "read_mask",
    "segment_everything",
    "write",
]

_HOMES = {
    "embedding": ("Embedding",),
    "errors": tuple(name for name in __all__ if name.endswith("Error")),
    "everything": ("draw_everything", "segment_everything"),
    "exemplar_files": ("read_exemplar",),
    "formats.dataset": ("write",),
    "images": ("ImageLimits", "read_image", "read_mask"),
    "langsam": ("LangSAM",),
    "sam.automatic": ("AutomaticMask", "AutomaticSettings", "generate_masks"),
    "sam.load": ("load_masker",),
    "models.grounded_sam.config": ("LangSamConfig",),
    "ops.windows": ("Tiles",),
    "predictor": ("Predictor", "load"),
    "prompts": ("BoxPrompt", "ExemplarPrompt", "MaskPrompt", "PointPrompt", "Query", "TextPrompt"),
    "results": ("Instance", "QueryResult", "Segmentation"),
}


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(f"promptseg.{home}"), name)
    if name == "__version__":
        return importlib.import_module("importlib.metadata").version("promptseg")
    raise AttributeError(f"module 'promptseg' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
