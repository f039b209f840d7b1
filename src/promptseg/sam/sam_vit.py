"""The first SAM (ViT-B, ViT-L, ViT-H; 94, 312 and 641 M parameters) through transformers' SamModel.

Source:
    Kirillov et al. 2023, "Segment Anything", arXiv:2304.02643; facebookresearch/segment-anything (Apache-2.0). As
    there, the longer side becomes 1024 pixels and the rest of the square is padded.
"""

from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import SamConfig, SamModel

from promptseg.errors import CheckpointError
from promptseg.runtime import Runtime, Step
from promptseg.sam.base import place_in_square
from promptseg.sam.decoder import encode_step, prompt_step, read_prompt_encoder
from promptseg.sam.graphs import SamGraphs, SamPart
from promptseg.sam.mask_decode import MaskDecode
from promptseg.sam.prompt_encoder import STRIDE
from promptseg.sam.sam import Sam


class _Encode(nn.Module):
    """Pixels to the embedding, as a graph compiler needs it."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, pixels: Tensor) -> Tensor:
        embedding: Tensor = self.encoder(pixels).last_hidden_state
        return embedding


def load_sam_vit(path: Path, *, runtime: Runtime, input_side: int = 1024, identity: str) -> Sam:
    """Load a directory with transformers' SamModel.

    Args:
        path: With config.json and model.safetensors.
        runtime: Computes it.
        input_side: Side of the square, pixels; that of its table of positions, 1024, and no other.
        identity: Hash of the weights.

    Raises:
        CheckpointError: There is no such model in the directory, or it has another side.
    """
    try:
        config: Any = SamConfig.from_pretrained(path, local_files_only=True)
        # Trained with PyTorch's default epsilon in the two-way transformer; the hub's files say 1e-6.
        config.mask_decoder_config.layer_norm_eps = 1e-5
        model = SamModel.from_pretrained(path, config=config, local_files_only=True)
    except (OSError, KeyError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{path}: no SAM for transformers ({error})") from error
    sam = build_sam_vit(model, runtime=runtime, identity=identity)
    if sam.input_side != input_side:
        raise CheckpointError(f"{path}: this SAM takes {sam.input_side} pixels, not {input_side}")
    return sam


def build_sam_vit(model: Any, *, runtime: Runtime, identity: str) -> Sam:
    """Put a SAM together.

    Args:
        model: transformers' SamModel with its weights; its configuration says the side of the square.
        runtime: Computes it.
        identity: Hash of the weights.
    """
    model.train(mode=False).requires_grad_(False)
    input_side = int(model.config.vision_config.image_size)
    graphs = SamGraphs(
        "sam-vit",
        f"{identity} {input_side}",
        num_features=1,
        build=partial(_build_step, model),
        code=("sam/sam_vit.py", "sam/decoder.py", "sam/mask_decode.py"),
    )
    return Sam(
        read_prompt_encoder(model.prompt_encoder, input_side), graphs, partial(place_in_square, input_side), runtime
    )


def build_tiny_sam(*, runtime: Runtime) -> Sam:
    """Build SAM at a size for tests, 64 pixels, with random weights that are always the same."""
    return build_sam_vit(build_tiny_model(), runtime=runtime, identity="random weights, seed 0")


def build_tiny_model() -> Any:
    """Build transformers' SamModel at a size for tests, with random weights that are always the same."""
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        return SamModel(
            SamConfig(
                vision_config={
                    "image_size": 64,
                    "hidden_size": 16,
                    "num_hidden_layers": 2,
                    "num_attention_heads": 2,
                    "mlp_dim": 32,
                    "global_attn_indexes": [1],
                    "window_size": 2,
                    "output_channels": 16,
                    "num_pos_feats": 8,
                },
                prompt_encoder_config={"hidden_size": 16, "image_size": 64, "image_embedding_size": 4},
                mask_decoder_config={
                    "hidden_size": 16,
                    "mlp_dim": 32,
                    "num_attention_heads": 2,
                    "iou_head_hidden_dim": 16,
                },
            )
        )


def _build_step(model: Any, part: SamPart, canvas_hw: tuple[int, int]) -> Step:
    if part == "encode":
        return encode_step(_Encode(model.vision_encoder).eval(), canvas_hw)
    if part == "coarse":
        module: nn.Module = model.prompt_encoder.mask_embed
    else:
        module = MaskDecode(model.mask_decoder, levels=part == "levels").eval()
    return prompt_step(part, module, canvas_hw, [(model.config.mask_decoder_config.hidden_size, STRIDE)])
