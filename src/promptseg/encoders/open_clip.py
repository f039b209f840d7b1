"""Read OpenCLIP's files: its names of a ConvNeXt tower and of a text tower, translated to ours.

Source:
    mlfoundations/open_clip (MIT) and timm (Apache-2.0), for the names.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from torch import Tensor, nn

from promptseg.errors import WeightsError
from promptseg.weights.convert.checkpoints import as_state_dict, load_pickle, load_tensors

Tower = Literal["image", "text"]

# Each rule is tried in this order; the first that matches the whole name gives the new one.
_IMAGE_RULES = (
    (r"visual\.trunk\.stem\.(\d)\.(.+)", r"stages.0.shrink.\1.\2"),
    (r"visual\.trunk\.stages\.(\d)\.downsample\.(\d)\.(.+)", r"stages.\1.shrink.\2.\3"),
    (r"visual\.trunk\.stages\.(\d)\.blocks\.(\d+)\.conv_dw\.(.+)", r"stages.\1.blocks.\2.look.\3"),
    (r"visual\.trunk\.stages\.(\d)\.blocks\.(\d+)\.norm\.(.+)", r"stages.\1.blocks.\2.norm.\3"),
    (r"visual\.trunk\.stages\.(\d)\.blocks\.(\d+)\.mlp\.fc1\.(.+)", r"stages.\1.blocks.\2.widen.\3"),
    (r"visual\.trunk\.stages\.(\d)\.blocks\.(\d+)\.mlp\.fc2\.(.+)", r"stages.\1.blocks.\2.narrow.\3"),
    (r"visual\.trunk\.stages\.(\d)\.blocks\.(\d+)\.gamma", r"stages.\1.blocks.\2.layer_scale"),
    (r"visual\.trunk\.head\.norm\.(.+)", r"region_norm.\1"),
    (r"visual\.head\.mlp\.fc1\.(.+)", r"widen.\1"),
    (r"visual\.head\.mlp\.fc2\.(.+)", r"narrow.\1"),
    (r"(logit_scale)", r"\1"),
)
_TEXT_RULES = (
    (r"token_embedding\.weight", r"clip.text_model.embeddings.token_embedding.weight"),
    (r"positional_embedding", r"clip.text_model.embeddings.position_embedding.weight"),
    (r"ln_final\.(.+)", r"clip.text_model.final_layer_norm.\1"),
    (r"text_projection", r"clip.text_projection.weight"),
    (r"transformer\.resblocks\.(\d+)\.ln_([12])\.(.+)", r"clip.text_model.encoder.layers.\1.layer_norm\2.\3"),
    (r"transformer\.resblocks\.(\d+)\.mlp\.c_fc\.(.+)", r"clip.text_model.encoder.layers.\1.mlp.fc1.\2"),
    (r"transformer\.resblocks\.(\d+)\.mlp\.c_proj\.(.+)", r"clip.text_model.encoder.layers.\1.mlp.fc2.\2"),
    (
        r"transformer\.resblocks\.(\d+)\.attn\.out_proj\.(.+)",
        r"clip.text_model.encoder.layers.\1.self_attn.out_proj.\2",
    ),
)
_PACKED = re.compile(r"transformer\.resblocks\.(\d+)\.attn\.in_proj_(weight|bias)")
_TRANSPOSED = "text_projection"  # OpenCLIP multiplies from the right


def read_open_clip(path: Path) -> dict[str, Tensor]:
    """Read a file of OpenCLIP, .safetensors or a PyTorch file; no code in it is run.

    Raises:
        WeightsError: The file can't be read, or holds other objects than tensors.
    """
    try:
        return load_tensors(path) if path.suffix == ".safetensors" else as_state_dict(load_pickle(path), path.name)
    except OSError as error:
        raise WeightsError(f"{path}: can't be read ({error})") from error


def rename_tower(tensors: Mapping[str, Tensor], tower: Tower) -> dict[str, Tensor]:
    """Translate the tensors of one tower; those of the other are left out.

    Args:
        tensors: Under OpenCLIP's names.
        tower: Which tower.

    Returns:
        The tensors under the names of `ConvNextClip` or `ClipText`.
    """
    rules = [(re.compile(pattern), name) for pattern, name in (_IMAGE_RULES if tower == "image" else _TEXT_RULES)]
    renamed: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        packed = _PACKED.fullmatch(name)
        if packed is not None and tower == "text":
            layer, kind = packed.groups()
            for part, value in zip("qkv", tensor.chunk(3), strict=True):
                renamed[f"clip.text_model.encoder.layers.{layer}.self_attn.{part}_proj.{kind}"] = value
        for pattern, new_name in rules:
            if (match := pattern.fullmatch(name)) is not None:
                renamed[match.expand(new_name)] = tensor.T if name == _TRANSPOSED else tensor
                break
    return renamed


def load_part(tower: nn.Module, part: Tower, tensors: Mapping[str, Tensor], *, source: str) -> None:
    """Load one tower out of an OpenCLIP, in place.

    Args:
        tower: A `ConvNextClip` or `ClipText`.
        part: Which of the two it is.
        tensors: Of both towers, under OpenCLIP's names.
        source: Origin of the tensors, for messages.

    Raises:
        WeightsError: The tensors are not those of an OpenCLIP of this size.
    """
    try:
        tower.load_state_dict(rename_tower(tensors, part), strict=True)
    except RuntimeError as error:
        reason = str(error).splitlines()[1].strip() if "\n" in str(error) else str(error)
        raise WeightsError(f"{source} does not hold this {part} tower of OpenCLIP: {reason:.300}") from error
