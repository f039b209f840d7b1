"""Convert names and config between the authors' checkpoint of the first stage and our network, without file access.

The file holds CLIP too, under OpenCLIP's names. It has no adapter: the second stage was never published.

Source:
    github.com/DerrickWang005/Unpair-Seg.pytorch @ b0249a5, for the names (read from its code, as its checkpoint lies
    where it could not be fetched).
"""

import re
from collections.abc import Iterator, Mapping

from torch import Tensor

from promptseg.encoders.convnext_clip import SIZES
from promptseg.encoders.open_clip import rename_tower
from promptseg.errors import CheckpointError
from promptseg.layers.pixel_decoder import NUM_LEVELS
from promptseg.models.uniovseg.config import UniOvSegConfig

CLIP_PREFIX = "backbone.clip_model."
PIXEL_PREFIX = "sem_seg_head.pixel_decoder."
MASK_PREFIX = "sem_seg_head.predictor."
PROMPT_PREFIX = f"{MASK_PREFIX}prompt_encoder."
# width of the stem -> image and text tower
TOWERS = {
    SIZES["large-d-320"][0][0]: ("clip-convnext-large-d-320", "clip-convnext-large-d-320"),
    SIZES["test"][0][0]: ("clip-convnext-test", "clip-text-test"),
}
_HEAD_PARTS = {"0": "proj_in", "1": "layers.0", "2": "proj_out"}
_POSITIONS = "positional_encoding_gaussian_matrix"

# Each rule is tried in this order; the first that matches the whole name gives the new one.
_RULES = (
    (r"pixel_decoder\.input_proj\.(\d)\.([01])\.(.+)", r"pixel_decoder.projections.\1.\2.\3"),
    (r"pixel_decoder\.transformer\.level_embed", r"pixel_decoder.level_codes"),
    (r"pixel_decoder\.transformer\.encoder\.layers\.(\d+)\.self_attn\.(.+)", r"pixel_decoder.layers.\1.attention.\2"),
    (r"pixel_decoder\.transformer\.encoder\.layers\.(\d+)\.norm1\.(.+)", r"pixel_decoder.layers.\1.attention_norm.\2"),
    (r"pixel_decoder\.transformer\.encoder\.layers\.(\d+)\.norm2\.(.+)", r"pixel_decoder.layers.\1.mlp_norm.\2"),
    (r"pixel_decoder\.transformer\.encoder\.layers\.(\d+)\.linear(.)\.(.+)", r"pixel_decoder.layers.\1.mlp.lin\2.\3"),
    (rf"pixel_decoder\.pe_layer\.{_POSITIONS}", r"pixel_decoder.positions.positional_embedding"),
    (r"pixel_decoder\.adapter_1\.weight", r"pixel_decoder.lateral.0.weight"),
    (r"pixel_decoder\.adapter_1\.norm\.(.+)", r"pixel_decoder.lateral.1.\1"),
    (r"pixel_decoder\.layer_1\.weight", r"pixel_decoder.smooth.0.weight"),
    (r"pixel_decoder\.layer_1\.norm\.(.+)", r"pixel_decoder.smooth.1.\1"),
    (r"pixel_decoder\.mask_features\.(.+)", r"pixel_decoder.mask_features.\1"),
    (rf"predictor\.pe_layer\.{_POSITIONS}", r"mask_decoder.positions.positional_embedding"),
    (r"predictor\.level_embed\.weight", r"mask_decoder.level_codes"),
    (r"predictor\.transformer_self_attention_layers\.(\d+)\.norm\.(.+)", r"mask_decoder.layers.\1.token_norm.\2"),
    (r"predictor\.transformer_cross_attention_layers\.(\d+)\.norm\.(.+)", r"mask_decoder.layers.\1.image_norm.\2"),
    (r"predictor\.transformer_ffn_layers\.(\d+)\.norm\.(.+)", r"mask_decoder.layers.\1.mlp_norm.\2"),
    (r"predictor\.transformer_ffn_layers\.(\d+)\.linear([12])\.(.+)", r"mask_decoder.layers.\1.mlp.lin\2.\3"),
    (r"predictor\.extra_self_attention_layer\.norm\.(.+)", r"mask_decoder.first_norm.\1"),
    (r"predictor\.feat_embed\.(.+)", r"mask_decoder.feature_projection.\1"),
    (r"predictor\.decoder_norm\.(.+)", r"mask_decoder.norm.\1"),
    (r"predictor\.mask_embed\.(\d+)\.layers\.([012])\.(.+)", r"mask_decoder.mask_heads.\1.layer\2.\3"),
    (r"predictor\.iou_embed\.(\d+)\.layers\.([012])\.(.+)", r"mask_decoder.score_heads.\1.layer\2.\3"),
    (rf"predictor\.prompt_encoder\.pos_emb\.{_POSITIONS}", r"prompts.positions.positional_embedding"),
    (r"predictor\.prompt_encoder\.corner_emb", r"prompts.corner_codes"),
    (r"predictor\.prompt_encoder\.point_emb", r"prompts.point_code"),
    (r"predictor\.prompt_encoder\.box_emb", r"prompts.box_code"),
    (r"predictor\.prompt_encoder\.attr_emb\.weight", r"prompts.label_codes"),
    (r"predictor\.prompt_encoder\.mask_emb", r"prompts.granularity_codes"),
)  # fmt: skip
# An attention of torch packs the projections of query, key and value.
_ATTENTIONS = (
    (r"predictor\.transformer_self_attention_layers\.(\d+)\.self_attn\.(.+)",
     r"mask_decoder.layers.\1.token_attention"),
    (r"predictor\.transformer_cross_attention_layers\.(\d+)\.multihead_attn\.(.+)",
     r"mask_decoder.layers.\1.image_attention"),
    (r"predictor\.extra_self_attention_layer\.()self_attn\.(.+)", r"mask_decoder.first_attention"),
)  # fmt: skip
# How many leading dimensions of size 1 a prompt code has there.
_NUM_LEADING = {
    "prompts.corner_codes": 1, "prompts.point_code": 2, "prompts.box_code": 2, "prompts.granularity_codes": 1,
}  # fmt: skip


def config_from_stage1(tensors: Mapping[str, Tensor], source: str) -> UniOvSegConfig:
    """Read the architecture off the shapes of the tensors.

    Args:
        tensors: Under the authors' names.
        source: Origin of the tensors, for messages.

    Raises:
        CheckpointError: They are not those of the first stage.
    """
    stem = _require(tensors, f"{CLIP_PREFIX}visual.trunk.stem.0.weight", source).shape[0]
    if stem not in TOWERS:
        raise CheckpointError(f"{source} holds a CLIP with a stem of {stem} channels; known are {sorted(TOWERS)}")
    image_tower, text_tower = TOWERS[stem]
    attention = f"{PIXEL_PREFIX}transformer.encoder.layers.0"
    points = UniOvSegConfig.encoder_points
    offsets = _require(tensors, f"{attention}.self_attn.sampling_offsets.bias", source).shape[0]
    granularity_codes = _require(tensors, f"{PROMPT_PREFIX}mask_emb", source)
    return UniOvSegConfig(
        image_tower=image_tower,
        text_tower=text_tower,
        dim=granularity_codes.shape[-1],
        num_heads=offsets // (NUM_LEVELS * points * 2),
        encoder_layers=_count(tensors, f"{PIXEL_PREFIX}transformer.encoder.layers."),
        encoder_mlp_dim=_require(tensors, f"{attention}.linear1.bias", source).shape[0],
        decoder_layers=_count(tensors, f"{MASK_PREFIX}transformer_ffn_layers."),
        decoder_mlp_dim=_require(tensors, f"{MASK_PREFIX}transformer_ffn_layers.0.linear1.bias", source).shape[0],
        granularities=granularity_codes.shape[1] - 1,
        positions="fourier" if f"{MASK_PREFIX}pe_layer.{_POSITIONS}" in tensors else "sine",
    )


def rename_stage1(tensors: Mapping[str, Tensor], source: str) -> dict[str, Tensor]:
    """Translate the tensors of the first stage to the names of `UniOvSeg`; the adapter's are not among them.

    Args:
        tensors: Under the authors' names.
        source: Origin of the tensors, for messages.

    Raises:
        CheckpointError: A tensor belongs to no part of the network.
    """
    clip = {name.removeprefix(CLIP_PREFIX): tensor for name, tensor in tensors.items() if name.startswith(CLIP_PREFIX)}
    renamed = {f"image_tower.{name}": tensor for name, tensor in rename_tower(clip, "image").items()}
    renamed |= {f"text_tower.{name}": tensor for name, tensor in rename_tower(clip, "text").items()}
    unknown = []
    for name, tensor in tensors.items():
        if name.startswith(CLIP_PREFIX):
            continue
        found = dict(_rename(name.removeprefix("sem_seg_head."), tensor))
        if not found:
            unknown.append(name)
        renamed |= found
    if unknown:
        shown = ", ".join(unknown[:3]) + (", ..." if len(unknown) > 3 else "")
        raise CheckpointError(f"{source} has {len(unknown)} weights that Uni-OVSeg's first stage lacks: {shown}")
    return renamed


def _rename(name: str, tensor: Tensor) -> Iterator[tuple[str, Tensor]]:
    for pattern, new in _ATTENTIONS:
        if (match := re.fullmatch(pattern, name)) is not None:
            attention, part = match.expand(new), match.group(2)
            if part.startswith("out_proj."):
                yield f"{attention}.{part}", tensor
            elif part.startswith("in_proj_"):
                for projection, value in zip("qkv", tensor.chunk(3), strict=True):
                    yield f"{attention}.{projection}_proj.{part.removeprefix('in_proj_')}", value
            return
    for pattern, new in _RULES:
        if (match := re.fullmatch(pattern, name)) is not None:
            renamed = re.sub(r"\.layer([012])\.", lambda layer: f".{_HEAD_PARTS[layer.group(1)]}.", match.expand(new))
            yield renamed, tensor[(0,) * _NUM_LEADING.get(renamed, 0)]
            return


def _require(tensors: Mapping[str, Tensor], name: str, source: str) -> Tensor:
    if name not in tensors:
        raise CheckpointError(f"{source} is not a checkpoint of Uni-OVSeg's first stage: it lacks {name}")
    return tensors[name]


def _count(tensors: Mapping[str, Tensor], prefix: str) -> int:
    return len({name.removeprefix(prefix).split(".")[0] for name in tensors if name.startswith(prefix)})
