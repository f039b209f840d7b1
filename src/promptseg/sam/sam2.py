"""SAM 2 (Hiera-tiny) as a masker of single images, through transformers' Sam2Model.

Source:
    Ravi et al. 2024, "SAM 2: Segment Anything in Images and Videos", arXiv:2408.00714; facebookresearch/sam2
    (Apache-2.0). As there, an image is squashed to a square.
"""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from transformers import Sam2Config, Sam2Model

from promptseg.errors import CheckpointError
from promptseg.ops.pixels import IMAGENET_MEAN_255, IMAGENET_STD_255, normalize_pixels
from promptseg.runtime.graph_runner import GraphRunner
from promptseg.sam.base import Frame, MaskChoice, MaskerEmbedding
from promptseg.sam.prompting import Decode, PromptedMasker


class _Encode(nn.Module):
    """Pixels to the embedding and the two finer maps, coarsest first."""

    def __init__(self, model: Sam2Model) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.model.get_image_embeddings(pixels)[::-1])


class _Decode(nn.Module):
    """The decoder with its choice of output fixed, as a graph compiler wants it."""

    def __init__(self, model: Sam2Model, *, levels: bool) -> None:
        super().__init__()
        self.decoder = model.mask_decoder
        self.levels = levels

    def forward(
        self, embedding: Tensor, middle: Tensor, fine: Tensor, position: Tensor, sparse: Tensor, dense: Tensor
    ) -> tuple[Tensor, Tensor]:
        num_prompts = sparse.shape[0]
        masks, scores, _, _ = self.decoder(
            image_embeddings=(embedding + dense).expand(num_prompts, -1, -1, -1),
            image_positional_embeddings=position.expand(num_prompts, -1, -1, -1),
            sparse_prompt_embeddings=sparse[:, None],
            dense_prompt_embeddings=torch.zeros(()),
            multimask_output=self.levels,
            high_resolution_features=[fine, middle],
        )
        return masks[:, 0], scores[:, 0]


class Sam2(PromptedMasker):
    """A masker of 31 M parameters; see `sam.base.Masker` for its methods.

    Args:
        model: With its weights; its configuration says the side of the square.
        runner: By which engine the encoder runs; None is plain PyTorch. The decoder always runs in PyTorch: what it
            chooses for a single mask depends on the mask, which a compiled graph can't follow.
    """

    def __init__(self, model: Sam2Model, *, runner: GraphRunner | None = None) -> None:
        self.model = model
        model.train(mode=False).requires_grad_(False)
        self.runner = runner or GraphRunner()
        self.input_side = 4 * int(model.prompt_encoder.mask_input_size[0])
        # The bicubic resize of the position table is the same for every image, and OpenVINO takes minutes to see it.
        backbone = model.vision_encoder.backbone
        table = backbone._get_pos_embed((self.input_side // 4, self.input_side // 4))
        backbone._get_pos_embed = lambda _hw: table

    @torch.inference_mode()
    def encode(self, image_rgb: NDArray[np.uint8]) -> MaskerEmbedding:
        """Encode an image, (H, W, 3) uint8."""
        side = self.input_side
        height, width, _ = image_rgb.shape
        frame = Frame((height, width), (side, side), (side / width, side / height))
        resized = np.asarray(Image.fromarray(image_rgb).resize((side, side), Image.Resampling.BILINEAR))
        pixels = torch.from_numpy(normalize_pixels(resized, IMAGENET_MEAN_255, IMAGENET_STD_255))
        return MaskerEmbedding(self.runner.run("encode", _Encode(self.model), (pixels,), {}), frame)

    @property
    def prompt_encoder(self) -> nn.Module:
        encoder: nn.Module = self.model.prompt_encoder
        return encoder

    def decode_on(self, embedding: MaskerEmbedding, choice: MaskChoice) -> Decode:
        module = _Decode(self.model, levels=choice == "levels").eval()
        position = self.model.get_image_wide_positional_embeddings()

        def decode(part: Tensor, dense_part: Tensor) -> tuple[Tensor, ...]:
            masks, scores = module(*embedding.features, position, part, dense_part)
            return masks, scores

        return decode


def load_sam2(path: Path, *, input_side: int = 1024, runner: GraphRunner | None = None) -> Sam2:
    """Load a directory with transformers' Sam2Model.

    Args:
        path: With config.json and model.safetensors.
        input_side: Side of the square, pixels, a multiple of 64; at 512 the encoder is five times cheaper than at
            1024, which it was trained with.
        runner: See `Sam2`.

    Raises:
        CheckpointError: There is no such model in the directory.
    """
    try:
        settings, _ = Sam2Config.get_config_dict(path, local_files_only=True)
        settings["prompt_encoder_config"]["image_size"] = input_side
        settings["vision_config"]["backbone_config"]["image_size"] = [input_side, input_side]
        settings["vision_config"]["backbone_feature_sizes"] = [[input_side // stride] * 2 for stride in (4, 8, 16)]
        config = Sam2Config.from_dict(settings)
        model = Sam2Model.from_pretrained(path, config=config, local_files_only=True)
    except (OSError, KeyError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{path}: no SAM 2 model for transformers ({error!r})") from error
    return Sam2(model, runner=runner)
