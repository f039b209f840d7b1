"""The first SAM (ViT-B, ViT-L, ViT-H) as a masker, through transformers' SamModel.

Source:
    Kirillov et al. 2023, "Segment Anything", arXiv:2304.02643; facebookresearch/segment-anything (Apache-2.0). As
    there, the longer side becomes 1024 pixels and the rest of the square is padded.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from transformers import SamConfig, SamModel

from promptseg.errors import CheckpointError
from promptseg.ops.pixels import IMAGENET_MEAN_255, IMAGENET_STD_255, normalize_pixels
from promptseg.runtime.graph_runner import GraphRunner
from promptseg.sam.base import MASK_CHOICES, Frame, MaskChoice, MaskerEmbedding
from promptseg.sam.prompting import Decode, PromptedMasker, decoder_on


class _Encode(nn.Module):
    """Pixels to the embedding, as a graph compiler wants it."""

    def __init__(self, model: SamModel) -> None:
        super().__init__()
        self.encoder = model.vision_encoder

    def forward(self, pixels: Tensor) -> Tensor:
        embedding: Tensor = self.encoder(pixels).last_hidden_state
        return embedding


class _Decode(nn.Module):
    """The decoder with its choice of output fixed."""

    def __init__(self, model: SamModel, *, levels: bool) -> None:
        super().__init__()
        self.decoder = model.mask_decoder
        self.levels = levels

    def forward(self, embedding: Tensor, position: Tensor, sparse: Tensor, dense: Tensor) -> tuple[Tensor, Tensor]:
        num_prompts = sparse.shape[0]
        masks, scores = self.decoder(
            image_embeddings=(embedding + dense).expand(num_prompts, -1, -1, -1),
            image_positional_embeddings=position.expand(num_prompts, -1, -1, -1),
            sparse_prompt_embeddings=sparse[:, None],
            dense_prompt_embeddings=torch.zeros(()),
            multimask_output=self.levels,
        )
        return masks[:, 0], scores[:, 0]


class Sam(PromptedMasker):
    """A masker of 94 (B), 312 (L) or 641 (H) million parameters; see `sam.base.Masker` for its methods.

    Args:
        model: transformers' SamModel with its weights; its configuration says the side of the square.
        runner: By which engine; None is plain PyTorch.
    """

    def __init__(self, model: Any, *, runner: GraphRunner | None = None) -> None:
        self.model = model
        model.train(mode=False).requires_grad_(False)
        self.runner = runner or GraphRunner()
        self._decoders = {choice: _Decode(model, levels=choice == "levels").eval() for choice in MASK_CHOICES}
        self.input_side = int(model.config.vision_config.image_size)

    @torch.inference_mode()
    def encode(self, image_rgb: NDArray[np.uint8]) -> MaskerEmbedding:
        """Encode an image, (H, W, 3) uint8."""
        side = self.input_side
        original_hw = (image_rgb.shape[0], image_rgb.shape[1])
        scale = side / max(original_hw)
        height, width = (max(1, round(length * scale)) for length in original_hw)
        resized = np.asarray(Image.fromarray(image_rgb).resize((width, height), Image.Resampling.BILINEAR))
        pixels = torch.from_numpy(
            normalize_pixels(resized, IMAGENET_MEAN_255, IMAGENET_STD_255, canvas_hw=(side, side))
        )
        frame = Frame(original_hw, (side, side), (scale, scale))
        return MaskerEmbedding(self.runner.run("encode", _Encode(self.model).eval(), (pixels,), {}), frame)

    @property
    def prompt_encoder(self) -> nn.Module:
        encoder: nn.Module = self.model.prompt_encoder
        return encoder

    def decode_on(self, embedding: MaskerEmbedding, choice: MaskChoice) -> Decode:
        (features,) = embedding.features
        position = self.model.get_image_wide_positional_embeddings()
        return decoder_on(self.runner, choice, self._decoders[choice], (features, position))


def load_sam(path: Path, *, input_side: int = 1024, runner: GraphRunner | None = None) -> Sam:
    """Load a directory with transformers' SamModel.

    Args:
        path: With config.json and model.safetensors.
        input_side: Side of the square, pixels; that of its table of positions, 1024, and no other.
        runner: See `Sam`.

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
    masker = Sam(model, runner=runner)
    if masker.input_side != input_side:
        raise CheckpointError(f"{path}: this SAM takes {masker.input_side} pixels, not {input_side}")
    return masker


def build_tiny_sam(*, runner: GraphRunner | None = None) -> Sam:
    """Build SAM at a size for tests, 64 pixels, with random weights that are always the same."""
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        model = SamModel(
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
    return Sam(model, runner=runner)
