"""SAM 2 (Hiera-tiny, 31 M parameters) for single images, through transformers' Sam2Model.

Source:
    Ravi et al. 2024, "SAM 2: Segment Anything in Images and Videos", arXiv:2408.00714; facebookresearch/sam2
    (Apache-2.0). As there, an image is squashed to a square.
"""

from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Sam2Config, Sam2Model

from promptseg.errors import CheckpointError
from promptseg.runtime import Runtime, Step
from promptseg.sam.base import Frame
from promptseg.sam.decoder import encode_step, prompt_step
from promptseg.sam.graphs import SamGraphs, SamPart
from promptseg.sam.prompt_encoder import PromptEncoder
from promptseg.sam.sam import Sam

# The embedding and the two finer maps.
STRIDES = (16, 8, 4)


class _Encode(nn.Module):
    """Pixels to the embedding and the two finer maps, coarsest first."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.model.get_image_embeddings(pixels)[::-1])


class _Decode(nn.Module):
    """The decoder with its choice of output fixed."""

    def __init__(self, mask_decoder: nn.Module, *, levels: bool) -> None:
        super().__init__()
        self.mask_decoder = mask_decoder
        self.levels = levels

    def forward(
        self, embedding: Tensor, middle: Tensor, fine: Tensor, position: Tensor, tokens: Tensor, dense: Tensor
    ) -> tuple[Tensor, Tensor]:
        num_prompts = tokens.shape[0]
        masks, scores, _, _ = self.mask_decoder(
            image_embeddings=(embedding + dense).expand(num_prompts, -1, -1, -1),
            image_positional_embeddings=position.expand(num_prompts, -1, -1, -1),
            sparse_prompt_embeddings=tokens[:, None],
            dense_prompt_embeddings=torch.zeros(()),
            multimask_output=self.levels,
            high_resolution_features=[fine, middle],
        )
        return masks[:, 0], scores[:, 0]


def load_sam2(path: Path, *, runtime: Runtime, input_side: int = 1024, identity: str) -> Sam:
    """Load a directory with transformers' Sam2Model.

    Args:
        path: With config.json and model.safetensors.
        runtime: Computes the encoder.
        input_side: Side of the square, pixels, a multiple of 64; at 512 the encoder is five times cheaper than at
            1024, which it was trained with.
        identity: Hash of the weights.

    Raises:
        CheckpointError: There is no such model in the directory.
    """
    try:
        settings, _ = Sam2Config.get_config_dict(path, local_files_only=True)
        settings["prompt_encoder_config"]["image_size"] = input_side
        settings["vision_config"]["backbone_config"]["image_size"] = [input_side, input_side]
        settings["vision_config"]["backbone_feature_sizes"] = [[input_side // stride] * 2 for stride in STRIDES[::-1]]
        config = Sam2Config.from_dict(settings)
        model = Sam2Model.from_pretrained(path, config=config, local_files_only=True)
    except (OSError, KeyError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{path}: no SAM 2 model for transformers ({error!r})") from error
    return build_sam2(model, runtime=runtime, identity=identity)


def build_sam2(model: Any, *, runtime: Runtime, identity: str) -> Sam:
    """Put SAM 2 together.

    Its decoder always runs in PyTorch: what it chooses for a single mask depends on the mask, which a compiled graph
    can't follow.

    Args:
        model: transformers' Sam2Model with its weights; its configuration says the side of the square.
        runtime: Computes the encoder and embeds coarse masks.
        identity: Hash of the weights.
    """
    model.train(mode=False).requires_grad_(False)
    input_side = int(model.prompt_encoder.input_image_size)
    _fix_positions(model, input_side)
    graphs = SamGraphs(
        "sam2",
        f"{identity} {input_side}",
        num_features=len(STRIDES),
        build=partial(_build_step, model),
        code=("sam/sam2.py", "sam/decoder.py"),
    )
    return Sam(
        read_prompt_encoder(model.prompt_encoder, input_side),
        graphs,
        partial(place_image, input_side),
        runtime,
        decoder_runtime=Runtime("torch", runtime.device),
    )


def place_image(input_side: int, original_hw: tuple[int, int]) -> Frame:
    """Squash an image to a square."""
    height, width = original_hw
    return Frame(original_hw, (input_side, input_side), (input_side / width, input_side / height))


def _fix_positions(model: Any, input_side: int) -> None:
    # The bicubic resize of the position table is the same for every image, and OpenVINO takes minutes to see it.
    backbone = model.vision_encoder.backbone
    table = backbone._get_pos_embed((input_side // 4, input_side // 4))
    backbone._get_pos_embed = lambda _hw: table.to(backbone.pos_embed.device)


def _build_step(model: Any, part: SamPart, canvas_hw: tuple[int, int]) -> Step:
    if part == "encode":
        return encode_step(_Encode(model).eval(), canvas_hw, num_features=len(STRIDES))
    if part == "coarse":
        module: nn.Module = model.prompt_encoder.mask_embed
    else:
        module = _Decode(model.mask_decoder, levels=part == "levels").eval()
    num_channels = model.config.mask_decoder_config.hidden_size
    channels = (num_channels, num_channels // 4, num_channels // 8)
    return prompt_step(part, module, canvas_hw, list(zip(channels, STRIDES, strict=True)))


def read_prompt_encoder(module: Any, input_side: int) -> PromptEncoder:
    """Take the arrays out of transformers' Sam2PromptEncoder, on the CPU; positions are relative to `input_side`."""
    return PromptEncoder(
        frequencies=module.shared_embedding.positional_embedding.detach().numpy(),
        point_types=module.point_embed.weight.detach().numpy(),
        no_point=module.not_a_point_embed.weight[0].detach().numpy(),
        no_mask=module.no_mask_embed.weight[0].detach().numpy(),
        input_side=input_side,
        ends_boxes=True,
    )
