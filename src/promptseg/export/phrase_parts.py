"""The parts of models that find phrases. Torch is imported only to build them.

The graphs of all have the same interface: `images` from pixels to features, `texts` from tokens to embeddings, `decode`
from both to mask logits and presence.
"""

from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

from promptseg.encoders.tokenizers import BackendTokenizer, Tokenizer
from promptseg.encoders.tower_facts import image_tower_facts, text_tower_facts
from promptseg.export.parts import ExportPart, FreeAxis, free
from promptseg.models.clipseg.config import ClipSegConfig
from promptseg.models.clipseg.graphs import graph_sources as clipseg_sources
from promptseg.models.clipseg.input_pixels import input_side, pixel_statistics
from promptseg.models.promptseg.config import PromptSegConfig
from promptseg.models.promptseg.graphs import graph_sources as promptseg_sources
from promptseg.runtime import GraphSource, Step

if TYPE_CHECKING:
    from promptseg.models.clipseg.network import ClipSeg
    from promptseg.models.promptseg.network import PromptSegNetwork

Axes = dict[str, dict[int, FreeAxis]]

_TOKENS: Axes = {
    "token_ids": {0: FreeAxis("phrases"), 1: FreeAxis("tokens")},
    "token_mask": {0: FreeAxis("phrases"), 1: FreeAxis("tokens")},
}
_PHRASES: Axes = {"texts": {0: FreeAxis("phrases")}}


def promptseg_parts(
    config: PromptSegConfig, identity: str, network: "Callable[[], PromptSegNetwork]"
) -> tuple[ExportPart, ...]:
    """Describe the graphs of the default model's network; arguments as `models.promptseg.graphs.graph_sources`."""
    sources = promptseg_sources(config, identity, network)
    multiple = image_tower_facts(config.image_tower).multiple
    pixels: Axes = {}
    decode = dict(_PHRASES)
    if config.resize == "aspect":
        pixels = {"pixels": {2: FreeAxis("rows", multiple), 3: FreeAxis("columns", multiple)}}
        decode["pixel_embedding"] = {2: FreeAxis("rows"), 3: FreeAxis("columns")}
    # crops of exemplars have the shapes of images
    sides = {"cells": 1, "coverage": 0} if config.resize == "aspect" else {}
    exemplar: Axes = {name: {axis: FreeAxis("rows"), axis + 1: FreeAxis("columns")} for name, axis in sides.items()}
    return (
        _part("images", sources["images"], pixels, "pixels to a unit vector per cell, and detections"),
        _part("texts", sources["texts"], _TOKENS, "phrases to unit vectors"),
        _part("decode", sources["decode"], decode, "both to mask logits, predicted IoU and presence logit"),
        _part(
            "exemplar", sources["exemplar"], exemplar, "cells of an example, and its share of each, to a unit vector"
        ),
    )


def clipseg_parts(config: ClipSegConfig, identity: str, network: "Callable[[], ClipSeg]") -> tuple[ExportPart, ...]:
    """Describe the graphs of CLIPSeg; arguments as `models.clipseg.graphs.graph_sources`."""
    sources = clipseg_sources(identity, network)
    return (
        _part("images", sources["tokens"], {}, "pixels to the states of the tower's blocks"),
        _part("texts", sources["texts"], _TOKENS, "phrases to vectors"),
        ExportPart(
            "decode",
            partial(_clipseg_decode, sources["decode"]),
            _PHRASES,
            "both to mask logits; the highest is the presence logit",
        ),
    )


def promptseg_facts(config: PromptSegConfig) -> dict[str, Any]:
    """Describe how images and phrases enter the graphs, and what the numbers mean."""
    facts = image_tower_facts(config.image_tower)
    unsure = config.presence_threshold if config.unsure_threshold is None else config.unsure_threshold
    return {
        "image": {
            "longest_side": config.image_size,
            "keeps_aspect": config.resize == "aspect",
            "multiple_of": facts.multiple,
            **_pixel_facts(facts.mean, facts.std),
        },
        "text": _text_facts(config.text_tower),
        "thresholds": _threshold_facts(config, unsure=unsure),
        **({"detections": {"classes": list(facts.detected_names)}} if facts.detected_names else {}),
    }


def clipseg_facts(config: ClipSegConfig) -> dict[str, Any]:
    """Describe how images and phrases enter the graphs, and what the numbers mean."""
    statistics = pixel_statistics(config)
    return {
        "image": {
            "longest_side": input_side(config),
            "keeps_aspect": False,
            "multiple_of": input_side(config),
            **_pixel_facts(statistics.mean, statistics.std),
        },
        "text": _text_facts(config.text_tower),
        "thresholds": _threshold_facts(config, unsure=config.presence_threshold),
    }


def vocabulary_files(text_tower: str, tokenizer: Tokenizer) -> dict[str, str]:
    """Give the text of the files that a tokenizer needs, by name."""
    if not isinstance(tokenizer, BackendTokenizer):
        return {}  # bytes are their own vocabulary
    if text_tower_facts(text_tower).tokenizer == "clip":
        return {"tokenizer.json": tokenizer.backend.to_str(pretty=True)}
    ids = tokenizer.backend.get_vocab()
    return {"vocab.txt": "".join(f"{piece}\n" for piece in sorted(ids, key=ids.__getitem__))}


def _pixel_facts(mean: Iterable[float], std: Iterable[float]) -> dict[str, list[float]]:
    """Describe how pixels from 0 to 255 are normalized."""
    return {"mean": [255 * value for value in mean], "std": [255 * value for value in std]}


def _threshold_facts(config: PromptSegConfig | ClipSegConfig, *, unsure: float) -> dict[str, float]:
    scale, shift = config.presence_calibration
    return {
        "mask": config.mask_threshold,
        "presence": config.presence_threshold,
        "unsure": unsure,
        "presence_scale": scale,
        "presence_shift": shift,
    }


def _text_facts(text_tower: str) -> dict[str, Any]:
    facts = text_tower_facts(text_tower)
    return {"tokenizer": facts.tokenizer, "max_tokens": facts.max_tokens}


def _part(name: str, source: GraphSource, axes: Axes, summary: str) -> ExportPart:
    return ExportPart(name, partial(_build, source, axes), axes, summary)


def _build(source: GraphSource, axes: Axes) -> Step:
    return free(source.build(), axes)


def _clipseg_decode(source: GraphSource) -> Step:
    # imported here because it imports torch
    from promptseg.export.clipseg_presence import with_presence

    return free(with_presence(source.build()), _PHRASES)
