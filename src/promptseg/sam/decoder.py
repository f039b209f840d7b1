"""SAM's prompt encoder and mask decoder: transformers' modules, as steps that an engine computes.

Source:
    Kirillov et al. 2023, "Segment Anything", arXiv:2304.02643; facebookresearch/segment-anything (Apache-2.0).
    MobileSAM uses the same two parts with the same weights as SAM ViT-H; its published names are translated.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import SamConfig, SamMaskDecoderConfig, SamPromptEncoderConfig, SamVisionConfig
from transformers.models.sam.modeling_sam import SamMaskDecoder, SamPromptEncoder

from promptseg.runtime import Step
from promptseg.sam.graphs import SamPart, feature_names
from promptseg.sam.prompt_encoder import STRIDE, PromptEncoder
from promptseg.weights.convert.sam_names import sam_decoder_name


class SamDecoder(nn.Module):
    """Prompt encoder and mask decoder, as one module that loads the published weights.

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

    def load_published(self, state: Mapping[str, Tensor]) -> None:
        """Load the published keys `prompt_encoder.*` and `mask_decoder.*`; all must be there, and no others."""
        self.load_state_dict({sam_decoder_name(key): tensor for key, tensor in state.items()}, strict=True)


def read_prompt_encoder(module: Any, input_side: int) -> PromptEncoder:
    """Take the arrays out of transformers' SamPromptEncoder.

    Args:
        module: On the CPU, in float32.
        input_side: Longer side of what is encoded, pixels.
    """
    return PromptEncoder(
        frequencies=module.shared_embedding.positional_embedding.detach().numpy(),
        point_types=torch.cat([embedding.weight for embedding in module.point_embed]).detach().numpy(),
        no_point=module.not_a_point_embed.weight[0].detach().numpy(),
        no_mask=module.no_mask_embed.weight[0].detach().numpy(),
        input_side=input_side,
    )


def encode_step(encoder: nn.Module, canvas_hw: tuple[int, int], *, num_features: int = 1) -> Step:
    """Make the step from pixels to features."""
    return Step(encoder, {"pixels": torch.zeros(1, 3, *canvas_hw)}, {}, feature_names(num_features))


def prompt_step(
    part: SamPart, module: nn.Module, canvas_hw: tuple[int, int], feature_shapes: Sequence[tuple[int, int]]
) -> Step:
    """Make the step that embeds coarse masks, or the one that decodes prompts, for any number and any canvas.

    Args:
        part: Any but "encode".
        module: Computes it.
        canvas_hw: Height and width of a canvas to trace it with, pixels.
        feature_shapes: Channels and stride of each map of an encoded image, the coarsest first.
    """
    height, width = canvas_hw
    if part == "coarse":
        return Step(module, {"masks": torch.zeros(2, 1, height // 4, width // 4)}, {"masks": (0, 2, 3)}, ("dense",))
    maps = [torch.zeros(1, channels, height // stride, width // stride) for channels, stride in feature_shapes]
    num_channels, grid_hw = feature_shapes[0][0], (height // STRIDE, width // STRIDE)
    features = dict(zip(feature_names(len(maps)), maps, strict=True))
    example = {
        **features,
        "position": torch.zeros(1, num_channels, *grid_hw),
        "tokens": torch.zeros(2, 3, num_channels),
        "dense": torch.zeros(2, num_channels, *grid_hw),
    }
    # As fast as with the sizes compiled in, and one graph for all canvases. Where the number of tokens was compiled in,
    # OpenVINO 2026.4 computed wrong masks in bfloat16.
    free = {**dict.fromkeys((*features, "position"), (2, 3)), "tokens": (0, 1), "dense": (0, 2, 3)}
    return Step(module, example, free, ("masks", "scores"))
