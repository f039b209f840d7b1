"""MobileSAM: TinyViT image encoder, SAM's prompt encoder and mask decoder.

Source:
    Zhang et al. 2023, "Faster Segment Anything: Towards Lightweight SAM for Mobile Applications", arXiv:2306.14289;
    ChaoningZhang/MobileSAM (Apache-2.0).
    Differs: the longer side may be less than 1024 pixels (faster, and enough for small images), and less is padded:
    a canvas of 4:3 instead of a square where the image fits in.
"""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from promptseg.errors import CheckpointError
from promptseg.ops.pixels import IMAGENET_MEAN_255, IMAGENET_STD_255, normalize_pixels
from promptseg.runtime.graph_runner import GraphRunner
from promptseg.sam.base import MASK_CHOICES, Frame, MaskChoice, MaskerEmbedding
from promptseg.sam.decoder import SamDecoder
from promptseg.sam.prompting import Decode, PromptedMasker, decoder_on
from promptseg.sam.tiny_vit import TinyViT

_ENCODER = "image_encoder."
# TinyViT's ImageNet head is in the published file, but nothing here uses it.
_UNUSED = ("image_encoder.head.", "image_encoder.norm_head.")


class _Decode(nn.Module):
    """The decoder with its choice of output fixed, as a graph compiler wants it."""

    def __init__(self, decoder: SamDecoder, *, levels: bool) -> None:
        super().__init__()
        self.decoder = decoder
        self.levels = levels

    def forward(self, embedding: Tensor, position: Tensor, sparse: Tensor, dense: Tensor) -> tuple[Tensor, Tensor]:
        masks, scores = self.decoder(embedding, position, sparse, dense, levels=self.levels)
        return masks, scores


class MobileSam(PromptedMasker):
    """A masker of 10 M parameters; see `sam.base.Masker` for its methods.

    Args:
        encoder: The image encoder.
        decoder: Prompt encoder and mask decoder; they know the longer side of what is encoded.
        runner: By which engine; None is plain PyTorch.
    """

    def __init__(self, encoder: TinyViT, decoder: SamDecoder, *, runner: GraphRunner | None = None) -> None:
        self.encoder = encoder.eval().requires_grad_(False)
        self.decoder = decoder.eval().requires_grad_(False)
        self.runner = runner or GraphRunner()
        self._decoders = {choice: _Decode(self.decoder, levels=choice == "levels").eval() for choice in MASK_CHOICES}
        self._positions: dict[tuple[int, int], Tensor] = {}

    @torch.inference_mode()
    def encode(self, image_rgb: NDArray[np.uint8]) -> MaskerEmbedding:
        """Encode an image, (H, W, 3) uint8."""
        height, width, _ = image_rgb.shape
        frame = _frame((height, width), self.decoder.input_side)
        pixels = _to_canvas(image_rgb, frame)
        (embedding,) = self.runner.run("encode", self.encoder, (pixels,), {})
        return MaskerEmbedding((embedding,), frame)

    @property
    def prompt_encoder(self) -> nn.Module:
        encoder: nn.Module = self.decoder.prompt_encoder
        return encoder

    def decode_on(self, embedding: MaskerEmbedding, choice: MaskChoice) -> Decode:
        (features,) = embedding.features
        position = self._position((features.shape[2], features.shape[3]))
        return decoder_on(self.runner, choice, self._decoders[choice], (features, position))

    def _position(self, grid_hw: tuple[int, int]) -> Tensor:
        """Encode the positions of an embedding's cells, once for each of the few canvases."""
        if grid_hw not in self._positions:
            self._positions[grid_hw] = self.decoder.image_position(grid_hw)
        return self._positions[grid_hw]


def load_mobile_sam(path: Path, *, input_side: int = 1024, runner: GraphRunner | None = None) -> MobileSam:
    """Load MobileSAM from a safetensors file with the published names.

    Args:
        path: The file.
        input_side: The longer side is brought to so many pixels, a multiple of 64; it was trained with 1024.
        runner: See `MobileSam`.

    Raises:
        CheckpointError: The file is not MobileSAM's.
    """
    encoder, decoder = TinyViT(), SamDecoder(input_side)
    try:
        state = {key: tensor for key, tensor in load_file(path).items() if not key.startswith(_UNUSED)}
        encoder.load_state_dict({k.removeprefix(_ENCODER): v for k, v in state.items() if k.startswith(_ENCODER)})
        decoder.load_published({k: v for k, v in state.items() if not k.startswith(_ENCODER)})
    except (OSError, RuntimeError, SafetensorError) as error:
        raise CheckpointError(f"{path}: not the weights of MobileSAM: {error}") from error
    return MobileSam(encoder, decoder, runner=runner)


def _frame(original_hw: tuple[int, int], input_side: int) -> Frame:
    """Place an image on the smallest canvas of three: square, 4:3, 3:4 (few, as each is compiled anew)."""
    scale = input_side / max(original_hw)
    height, width = original_hw
    short_side = input_side * 3 // 4
    canvas_height = short_side if round(height * scale) <= short_side else input_side
    canvas_width = short_side if round(width * scale) <= short_side else input_side
    return Frame(original_hw, (canvas_height, canvas_width), (scale, scale))


def _to_canvas(image_rgb: NDArray[np.uint8], frame: Frame) -> Tensor:
    """Scale, normalize, pad with zeros at the right and below: (1, 3, H, W) of the canvas."""
    height, width = (max(1, round(side * frame.scale_xy[0])) for side in frame.original_hw)
    resized = np.asarray(Image.fromarray(image_rgb).resize((width, height), Image.Resampling.BILINEAR))
    return torch.from_numpy(normalize_pixels(resized, IMAGENET_MEAN_255, IMAGENET_STD_255, canvas_hw=frame.canvas_hw))
