"""OpenCLIP's layout of a ConvNeXt CLIP, made from our towers: its names, and its packing of attentions."""

import re
from typing import Any

import torch
from torch import Tensor

from promptseg.encoders.convnext_clip import ConvNextClip

_IMAGE_RULES = (
    (r"^stages\.0\.shrink\.", "visual.trunk.stem."),
    (r"^stages\.(\d)\.shrink\.", r"visual.trunk.stages.\1.downsample."),
    (r"^stages\.", "visual.trunk.stages."),
    (r"(blocks\.\d+)\.look\.", r"\1.conv_dw."),
    (r"(blocks\.\d+)\.widen\.", r"\1.mlp.fc1."),
    (r"(blocks\.\d+)\.narrow\.", r"\1.mlp.fc2."),
    (r"\.layer_scale$", ".gamma"),
    (r"^region_norm\.", "visual.trunk.head.norm."),
    (r"^widen\.", "visual.head.mlp.fc1."),
    (r"^narrow\.", "visual.head.mlp.fc2."),
)
_TEXT_PARTS = {
    "self_attn.out_proj": "attn.out_proj",
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
}


def image_state(tower: ConvNextClip) -> dict[str, Tensor]:
    """Give the weights of an image tower OpenCLIP's names."""
    renamed = {}
    for name, value in tower.state_dict().items():
        for pattern, new in _IMAGE_RULES:
            name = re.sub(pattern, new, name)
        renamed[name] = value.clone()
    return renamed


def text_state(model: Any) -> dict[str, Tensor]:
    """Give the weights of transformers' CLIPTextModelWithProjection OpenCLIP's names and packing."""
    state = {name.removeprefix("text_model."): value for name, value in model.state_dict().items()}
    packed = {
        "token_embedding.weight": state["embeddings.token_embedding.weight"],
        "positional_embedding": state["embeddings.position_embedding.weight"],
        "text_projection": state["text_projection.weight"].T.contiguous(),
        **{f"ln_final.{part}": state[f"final_layer_norm.{part}"] for part in ("weight", "bias")},
    }
    for index in range(model.config.num_hidden_layers):
        old, new = f"encoder.layers.{index}", f"transformer.resblocks.{index}"
        for part in ("weight", "bias"):
            projections = [state[f"{old}.self_attn.{one}_proj.{part}"] for one in "qkv"]
            packed[f"{new}.attn.in_proj_{part}"] = torch.cat(projections)
            for ours, published in _TEXT_PARTS.items():
                packed[f"{new}.{published}.{part}"] = state[f"{old}.{ours}.{part}"]
    return packed
