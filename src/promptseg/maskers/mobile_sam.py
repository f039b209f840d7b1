"""MobileSAM: TinyViT image encoder, SAM's prompt encoder and mask decoder.

Source:
    Zhang et al. 2023, "Faster Segment Anything: Towards Lightweight SAM for Mobile Applications", arXiv:2306.14289;
    ChaoningZhang/MobileSAM (Apache-2.0).
    Differs: the longer side may be less than 1024 pixels (faster, and enough for small pictures), and less is padded:
    a canvas of 4:3 instead of a square where the picture fits in.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn

from promptseg.errors import CheckpointError, PromptError
from promptseg.maskers.base import Frame, MaskChoice, MaskerEmbedding, MaskerOutput, check_prompts
from promptseg.maskers.graph import Graph, MaskerEngine, Precision, compile_graph
from promptseg.maskers.sam_decoder import SamDecoder
from promptseg.maskers.tiny_vit import TinyViT

PIXEL_MEAN = np.array([123.675, 116.28, 103.53], dtype=np.float32)
PIXEL_STD = np.array([58.395, 57.12, 57.375], dtype=np.float32)
# Decoding needs about 25 MB a prompt at 1024 pixels.
PROMPTS_PER_CALL = 16
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


class MobileSam:
    """A masker of 10 M parameters; see `maskers.base.Masker` for its methods.

    Args:
        state: The published state dict, original names.
        input_side: The longer side is brought to so many pixels, a multiple of 64; it was trained with 1024.
        engine: "openvino" is several times faster on a CPU.
        precision: For OpenVINO: bf16 where speed matters more than the last pixel.
        num_threads: For OpenVINO; None takes what is there.

    Raises:
        CheckpointError: The state dict is not MobileSAM's.
    """

    def __init__(
        self,
        state: Mapping[str, Tensor],
        *,
        input_side: int = 1024,
        engine: MaskerEngine = "torch",
        precision: Precision = "f32",
        num_threads: int | None = None,
    ) -> None:
        self.input_side = input_side
        self.engine = engine
        self.precision = precision
        self.num_threads = num_threads
        self.encoder = TinyViT()
        self.decoder = SamDecoder(input_side)
        state = {key: tensor for key, tensor in state.items() if not key.startswith(_UNUSED)}
        try:
            self.encoder.load_state_dict(
                {k.removeprefix(_ENCODER): v for k, v in state.items() if k.startswith(_ENCODER)}
            )
            self.decoder.load_published({k: v for k, v in state.items() if not k.startswith(_ENCODER)})
        except RuntimeError as error:
            raise CheckpointError(f"not the weights of MobileSAM: {error}") from error
        self.encoder.eval().requires_grad_(False)
        self.decoder.eval().requires_grad_(False)
        self._graphs: dict[tuple[str, tuple[int, int]], Graph] = {}

    @torch.inference_mode()
    def encode(self, image_rgb: NDArray[np.uint8]) -> MaskerEmbedding:
        """Encode a picture, (H, W, 3) uint8."""
        height, width, _ = image_rgb.shape
        frame = _frame((height, width), self.input_side)
        pixels = _to_canvas(image_rgb, frame)
        (embedding,) = self._run("encode", frame, self.encoder, (pixels,), {})
        return MaskerEmbedding((embedding,), frame)

    @torch.inference_mode()
    def segment(
        self,
        embedding: MaskerEmbedding,
        *,
        points_xy: Tensor | None = None,
        point_labels: Tensor | None = None,
        boxes_xyxy: Tensor | None = None,
        mask_logits: Tensor | None = None,
        choice: MaskChoice = "single",
    ) -> MaskerOutput:
        """Mask what N prompts point at; arguments and errors as `maskers.base.Masker.segment`."""
        frame = embedding.frame
        num_prompts = check_prompts(frame.original_hw, points_xy, point_labels, boxes_xyxy)
        expected = (num_prompts, *(side // 4 for side in frame.canvas_hw))
        if mask_logits is not None and mask_logits.shape != expected:
            raise PromptError(f"mask_logits must be {expected}, got {tuple(mask_logits.shape)}")
        sparse, dense = self.decoder.embed_prompts(
            None if points_xy is None else frame.points_to_canvas(points_xy.float()),
            point_labels,
            None if boxes_xyxy is None else frame.points_to_canvas(boxes_xyxy.float().view(-1, 2, 2)).view(-1, 4),
            mask_logits,
        )
        (features,) = embedding.features
        position = self.decoder.image_position((features.shape[2], features.shape[3]))
        decode = _Decode(self.decoder, levels=choice == "levels").eval()
        dynamic_axes = {2: (0, 1), 3: (0, 2, 3)}
        masks, scores = [], []
        for start in range(0, num_prompts, PROMPTS_PER_CALL):
            part = slice(start, start + PROMPTS_PER_CALL)
            inputs = (features, position, sparse[part], dense if mask_logits is None else dense[part])
            part_masks, part_scores = self._run(choice, frame, decode, inputs, dynamic_axes)
            masks.append(part_masks)
            scores.append(part_scores)
        return MaskerOutput(torch.cat(masks), torch.cat(scores), frame)

    def _run(
        self,
        name: str,
        frame: Frame,
        module: nn.Module,
        inputs: tuple[Tensor, ...],
        dynamic_axes: Mapping[int, tuple[int, ...]],
    ) -> tuple[Tensor, ...]:
        """Run a module by the chosen engine; OpenVINO compiles it at the first call with each canvas."""
        if self.engine == "torch":
            outputs = module(*inputs)
            return outputs if isinstance(outputs, tuple) else (outputs,)
        key = (name, frame.canvas_hw)
        if key not in self._graphs:
            self._graphs[key] = compile_graph(
                module, inputs, dynamic_axes=dynamic_axes, precision=self.precision, num_threads=self.num_threads
            )
        return self._graphs[key](*inputs)


def load_mobile_sam(
    path: Path,
    *,
    input_side: int = 1024,
    engine: MaskerEngine = "torch",
    precision: Precision = "f32",
    num_threads: int | None = None,
) -> MobileSam:
    """Load MobileSAM from a safetensors file with the published names; arguments as `MobileSam`."""
    return MobileSam(
        load_file(path), input_side=input_side, engine=engine, precision=precision, num_threads=num_threads
    )


def _frame(original_hw: tuple[int, int], input_side: int) -> Frame:
    """Place a picture on the smallest canvas of three: square, 4:3, 3:4 (few, as each is compiled anew)."""
    scale = input_side / max(original_hw)
    height, width = original_hw
    short_side = input_side * 3 // 4
    canvas_height = short_side if round(height * scale) <= short_side else input_side
    canvas_width = short_side if round(width * scale) <= short_side else input_side
    return Frame(original_hw, (canvas_height, canvas_width), (scale, scale))


def _to_canvas(image_rgb: NDArray[np.uint8], frame: Frame) -> Tensor:
    """Scale, normalise, pad with zeros at the right and below: (1, 3, H, W) of the canvas."""
    height, width = (max(1, round(side * frame.scale_xy[0])) for side in frame.original_hw)
    resized = np.asarray(Image.fromarray(image_rgb).resize((width, height), Image.Resampling.BILINEAR))
    pixels = (resized.astype(np.float32) - PIXEL_MEAN) / PIXEL_STD
    canvas_height, canvas_width = frame.canvas_hw
    return F.pad(torch.from_numpy(pixels).permute(2, 0, 1)[None], (0, canvas_width - width, 0, canvas_height - height))
