"""SAM's prompt encoder and mask decoder: transformers' modules, with the key map from the published names.

Source:
    Kirillov et al. 2023, "Segment Anything", arXiv:2304.02643; facebookresearch/segment-anything (Apache-2.0).
    MobileSAM uses the same two parts with the same weights as SAM ViT-H, so its checkpoint loads through this map.
"""

import re
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from transformers import SamConfig, SamMaskDecoderConfig, SamPromptEncoderConfig, SamVisionConfig
from transformers.models.sam.modeling_sam import SamMaskDecoder, SamPromptEncoder

_RENAMED = {
    "output_upscaling.0": "upscale_conv1",
    "output_upscaling.1": "upscale_layer_norm",
    "output_upscaling.3": "upscale_conv2",
    "mask_downscaling.0": "mask_embed.conv1",
    "mask_downscaling.1": "mask_embed.layer_norm1",
    "mask_downscaling.3": "mask_embed.conv2",
    "mask_downscaling.4": "mask_embed.layer_norm2",
    "mask_downscaling.6": "mask_embed.conv3",
    "point_embeddings": "point_embed",
    "pe_layer.positional_encoding_gaussian_matrix": "shared_embedding.positional_embedding",
    "norm_final_attn": "layer_norm_final_attn",
}
_MLP_LAYERS = {".layers.0.": ".proj_in.", ".layers.1.": ".layers.0.", ".layers.2.": ".proj_out."}


def transformers_key(published_key: str) -> str:
    """Translate a key of segment-anything's prompt encoder or mask decoder to transformers' name."""
    key = re.sub(r"\.norm(\d)\.", r".layer_norm\1.", published_key)
    for published, renamed in _RENAMED.items():
        key = key.replace(published, renamed)
    if "hypernetworks" in key or "iou_prediction_head" in key:
        key = re.sub(r"\.layers\.[012]\.", lambda found: _MLP_LAYERS[found.group()], key)
    return key


class SamDecoder(nn.Module):
    """Prompt encoder and mask decoder.

    Args:
        input_side: Longer side of what is encoded, pixels, a multiple of 16; positions are relative to it.
    """

    def __init__(self, input_side: int = 1024) -> None:
        super().__init__()
        # The two-way transformer was trained with PyTorch's default epsilon, not with transformers' 1e-6.
        decoder_config = SamMaskDecoderConfig(layer_norm_eps=1e-5)
        decoder_config._attn_implementation = "sdpa"
        self.prompt_encoder = SamPromptEncoder(
            SamConfig(
                vision_config=SamVisionConfig(image_size=input_side),
                prompt_encoder_config=SamPromptEncoderConfig(image_size=input_side),
            )
        )
        self.mask_decoder = SamMaskDecoder(decoder_config)
        self.input_side = input_side

    def load_published(self, state: Mapping[str, Tensor]) -> None:
        """Load the published keys `prompt_encoder.*` and `mask_decoder.*`; all must be there, and no others."""
        self.load_state_dict({transformers_key(key): tensor for key, tensor in state.items()}, strict=True)

    def image_position(self, grid_hw: tuple[int, int]) -> Tensor:
        """Position encoding of an embedding's cells, (1, 256, h, w)."""
        y, x = torch.meshgrid(
            *((torch.arange(length) + 0.5) * 16 / self.input_side for length in grid_hw), indexing="ij"
        )
        encoded: Tensor = self.prompt_encoder.shared_embedding(torch.stack([x, y], dim=-1)[None])
        return encoded.permute(0, 3, 1, 2)

    def forward(
        self, embedding: Tensor, position: Tensor, sparse: Tensor, dense: Tensor, *, levels: bool
    ) -> tuple[Tensor, Tensor]:
        """Decode N prompts on one image.

        Args:
            embedding: (1, 256, h, w).
            position: (1, 256, h, w), see `image_position`.
            sparse: (N, T, 256).
            dense: What `prompting.embed_coarse` gave.
            levels: Three nested candidates instead of the single mask.

        Returns:
            Mask logits (N, K, 4h, 4w) and scores (N, K); K is 3 with levels, else 1.
        """
        num_prompts = sparse.shape[0]
        masks, scores = self.mask_decoder(
            image_embeddings=(embedding + dense).expand(num_prompts, -1, -1, -1),
            image_positional_embeddings=position.expand(num_prompts, -1, -1, -1),
            sparse_prompt_embeddings=sparse[:, None],
            dense_prompt_embeddings=torch.zeros(()),
            multimask_output=levels,
        )
        return masks[:, 0], scores[:, 0]
