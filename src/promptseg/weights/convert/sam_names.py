"""Convert the names of SAM's tensors from the original code to transformers.

Source:
    segment_anything/modeling @ dca509f and sam2/modeling @ 2b90b9f (both Apache-2.0), and transformers' SamModel and
    Sam2Model; only names were compared, no code was copied.
"""

import re

_DECODER_PARTS = (
    ("norm_final_attn", "layer_norm_final_attn"),
    ("output_upscaling.0", "upscale_conv1"),
    ("output_upscaling.1", "upscale_layer_norm"),
    ("output_upscaling.3", "upscale_conv2"),
    ("mask_downscaling.0", "mask_embed.conv1"),
    ("mask_downscaling.1", "mask_embed.layer_norm1"),
    ("mask_downscaling.3", "mask_embed.conv2"),
    ("mask_downscaling.4", "mask_embed.layer_norm2"),
    ("mask_downscaling.6", "mask_embed.conv3"),
    ("point_embeddings", "point_embed"),
    ("pe_layer.positional_encoding_gaussian_matrix", "shared_embedding.positional_embedding"),
)


def sam_decoder_name(name: str) -> str:
    """Convert a tensor name of the prompt encoder or the mask decoder to that of transformers' SamModel."""
    name = re.sub(r"\.norm(\d)\.", r".layer_norm\1.", name)
    if "hypernetworks" in name or "iou_prediction_head" in name:
        name = name.replace(".layers.0.", ".proj_in.").replace(".layers.2.", ".proj_out.")
        name = name.replace(".layers.1.", ".layers.0.")
    for original, ours in _DECODER_PARTS:
        name = name.replace(original, ours)
    return name


def sam2_decoder_name(name: str) -> str:
    """Convert a tensor name of SAM 2's prompt encoder or mask decoder to that of transformers' Sam2Model."""
    name = sam_decoder_name(name).replace(".out_proj.", ".o_proj.")
    return _two_layer_mlp(name)


def sam2_encoder_name(name: str) -> str:
    """Convert a tensor name of SAM 2's image encoding to that of transformers' Sam2Model."""
    name = name.replace("sam_mask_decoder.", "mask_decoder.").replace(
        "image_encoder.trunk.", "vision_encoder.backbone."
    )
    name = re.sub(r"^image_encoder\.neck\.convs\.(\d)\.conv\.", r"vision_encoder.neck.convs.\1.", name)
    name = re.sub(r"\.norm(\d)\.", r".layer_norm\1.", name)
    return _two_layer_mlp(name.replace("patch_embed.proj.", "patch_embed.projection."))


def _two_layer_mlp(name: str) -> str:
    return name.replace("mlp.layers.0.", "mlp.proj_in.").replace("mlp.layers.1.", "mlp.proj_out.")
