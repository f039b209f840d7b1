"""Convert names and configs between our CLIPSeg and the two published layouts, without file access.

The original code stores the decoder alone, under our names; transformers stores CLIP too and splits the input
projection of each attention in three.

Source:
    github.com/timojl/clipseg @ 77c4e2d (MIT); transformers 5.23, models/clipseg (Apache-2.0), for the names.
"""

import re
from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from promptseg.errors import CheckpointError
from promptseg.models.clipseg.config import ClipSegConfig

# defaults of transformers' CLIPSeg for fields that config.json lacks
VISION_DEFAULTS = {"hidden_size": 768, "num_hidden_layers": 12, "patch_size": 32}
TEXT_DEFAULTS = {"hidden_size": 512, "num_hidden_layers": 12}
# widths of the image and the text tower, their depths, patch -> their rows
CLIP_OF_SIZE = {
    (768, 512, 12, 12, 16): ("clip-vit-base-patch16", "clip-vit-base-patch16"),
    (768, 512, 12, 12, 32): ("clip-vit-base-patch32", "clip-vit-base-patch32"),
    (32, 24, 4, 2, 16): ("clip-test", "clip-text-test"),
}
CLIP_OF_PATCH = {16: "clip-vit-base-patch16", 32: "clip-vit-base-patch32"}
# The original file does not name the blocks of CLIP that its decoder reads. The authors' Quickstart and transformers'
# conversion use these for their published files, although experiments/phrasecut.yaml has 3, 7, 9.
ORIGINAL_LAYERS = (3, 6, 9)
# transformers -> the original code
RENAMED = {
    "transposed_convolution.": "trans_conv.",
    "layers.": "blocks.",
    ".mlp.fc1.": ".linear1.",
    ".mlp.fc2.": ".linear2.",
    ".layer_norm1.": ".norm1.",
    ".layer_norm2.": ".norm2.",
}
# transformers' CLIP -> our towers
TOWER_PREFIXES = {
    "clip.vision_model.": "image_tower.model.vision_model.",
    "clip.visual_projection.": "image_tower.model.visual_projection.",
    "clip.text_model.": "text_tower.clip.text_model.",
    "clip.text_projection.": "text_tower.clip.text_projection.",
}
LOGIT_SCALE = "clip.logit_scale"  # used in contrastive training only; CLIP's value is the upper limit of its training


def decoder_from_transformers(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the tensors of transformers' decoder to our names, and join the split projections; ignore other tensors.

    Raises:
        CheckpointError: A part of a split projection is missing.
    """
    state: dict[str, Tensor] = {}
    parts: dict[str, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        if not name.startswith("decoder."):
            continue
        for theirs, ours in RENAMED.items():
            name = name.replace(theirs, ours)
        if split := re.fullmatch(r"(.*)\.([qkv])_proj\.(weight|bias)", name):
            stem, letter, kind = split.groups()
            parts.setdefault(f"{stem}.in_proj_{kind}", {})[letter] = value
        else:
            state[name] = value
    for name, three in parts.items():
        if three.keys() != {"q", "k", "v"}:
            raise CheckpointError(
                f"{name} has three parts, q, k and v, but the file has only {', '.join(sorted(three))}"
            )
        state[name] = torch.cat([three["q"], three["k"], three["v"]])
    return state


def decoder_to_transformers(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Invert `decoder_from_transformers`, for names without the prefix "decoder."."""
    tensors: dict[str, Tensor] = {}
    for name, value in state.items():
        name = f"decoder.{name}"
        for theirs, ours in RENAMED.items():
            name = name.replace(ours, theirs)
        stem, joined, kind = name.rpartition("in_proj_")
        if not joined:
            tensors[name] = value
            continue
        for projection, part in zip("qkv", value.chunk(3), strict=True):
            tensors[f"{stem}{projection}_proj.{kind}"] = part
    return tensors


def towers_from_transformers(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the tensors of transformers' CLIP to the names of our towers; ignore the decoder."""
    state: dict[str, Tensor] = {}
    for name, value in tensors.items():
        # older versions also stored buffers of position indexes
        if name.startswith("decoder.") or name == LOGIT_SCALE or name.endswith("position_ids"):
            continue
        prefix = next((prefix for prefix in TOWER_PREFIXES if name.startswith(prefix)), None)
        state[name if prefix is None else TOWER_PREFIXES[prefix] + name.removeprefix(prefix)] = value
    return state


def config_from_transformers(
    values: Mapping[str, Any], *, clip: str | None = None, towers: Literal["published", "stored"] = "stored"
) -> ClipSegConfig:
    """Read a config of transformers.

    Args:
        values: The content of config.json.
        clip: Name of both towers' row; None: the row of CLIP with the same size.
        towers: See `ClipSegConfig`.

    Raises:
        CheckpointError: The config belongs to another model, or its CLIP has an unknown size.
    """
    if values.get("model_type") != "clipseg":
        raise CheckpointError(
            f"this is a model of transformers, but not CLIPSeg: its model_type is {values.get('model_type')!r}"
        )
    vision, text = (
        {**default, **(values.get(f"{part}_config") or {}), **(values.get(f"{part}_config_dict") or {})}
        for part, default in (("vision", VISION_DEFAULTS), ("text", TEXT_DEFAULTS))
    )
    widths = (vision["hidden_size"], text["hidden_size"])
    depths = (vision["num_hidden_layers"], text["num_hidden_layers"])
    size = (*widths, *depths, vision["patch_size"])
    if size not in CLIP_OF_SIZE:
        raise CheckpointError(
            f"this CLIPSeg has a CLIP of another size: widths {widths}, depths {depths}, patch {vision['patch_size']}; "
            "only ViT-B/16 and ViT-B/32 are known"
        )
    image_tower, text_tower = (clip, clip) if clip else CLIP_OF_SIZE[size]
    return ClipSegConfig.from_dict(
        {
            "image_tower": image_tower,
            "text_tower": text_tower,
            "image_layers": tuple(values.get("extract_layers", (3, 6, 9))),
            "dim": values.get("reduce_dim", 64),
            "num_heads": values.get("decoder_num_attention_heads", 4),
            "mlp_dim": values.get("decoder_intermediate_size", 2048),
            "film_block": values.get("conditional_layer", 0),
            "head": "refined" if values.get("use_complex_transposed_convolution") else "simple",
            "towers": towers,
        }
    )


def config_from_original(state: Mapping[str, Tensor], source: str) -> ClipSegConfig:
    """Derive a config from the shapes of the original code's decoder.

    Args:
        state: Tensors of the decoder.
        source: Origin of the tensors, for messages.

    Raises:
        CheckpointError: The tensors are not those of a CLIPSeg, or the blocks of CLIP that they need are unknown.
    """
    refined = "trans_conv.0.weight" in state
    head = "trans_conv.2.weight" if refined else "trans_conv.weight"
    if missing := sorted({"film_mul.weight", "blocks.0.linear1.weight", "reduces.0.weight", head} - state.keys()):
        raise CheckpointError(
            f"{source} is not a CLIPSeg in the layout of the original code: it lacks {', '.join(missing)} and has "
            f"{', '.join(sorted(state)[:5]) or 'nothing else'}{', ...' if len(state) > 5 else ''}"
        )
    num_blocks = len({name.split(".")[1] for name in state if name.startswith("reduces.")})
    if num_blocks != len(ORIGINAL_LAYERS):
        raise CheckpointError(
            f"{source} has {num_blocks} blocks and does not name the layers of CLIP that they read; "
            f"only three blocks, for layers {ORIGINAL_LAYERS}, are supported"
        )
    patch = state[head].shape[-1] * (4 if refined else 1)
    if patch not in CLIP_OF_PATCH:
        raise CheckpointError(
            f"{source} upsamples {patch} times; only 16 and 32, the patches of CLIP's ViT-B, are known"
        )
    return ClipSegConfig(
        image_tower=CLIP_OF_PATCH[patch],
        text_tower=CLIP_OF_PATCH[patch],
        image_layers=ORIGINAL_LAYERS,
        dim=state["film_mul.weight"].shape[0],
        mlp_dim=state["blocks.0.linear1.weight"].shape[0],
        head="refined" if refined else "simple",
    )
