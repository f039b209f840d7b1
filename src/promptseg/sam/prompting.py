"""From prompts in image pixels to what SAM's decoders take; the same for both generations."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from promptseg.errors import PromptError
from promptseg.runtime.graph_runner import GraphRunner
from promptseg.sam.base import Frame, MaskChoice, MaskerEmbedding, MaskerOutput, check_prompts

# Decoding needs about 25 MB a prompt at 1024 pixels.
PROMPTS_PER_CALL = 16

# From tokens and dense maps of some prompts to mask logits (n, K, h, w) and scores (n, K).
Decode: TypeAlias = Callable[[Tensor, Tensor], tuple[Tensor, ...]]


class PromptedMasker(ABC):
    """What every SAM does with prompts; how it decodes them is its own.

    Attributes:
        runner: By which engine.
    """

    runner: GraphRunner

    @property
    @abstractmethod
    def prompt_encoder(self) -> nn.Module:
        """transformers' SamPromptEncoder or Sam2PromptEncoder."""

    @abstractmethod
    def decode_on(self, embedding: MaskerEmbedding, choice: MaskChoice) -> Decode:
        """Give what decodes prompts on an encoded image."""

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
        """Mask what N prompts point at; arguments and errors as `sam.base.Masker.segment`."""
        frame = embedding.frame
        num_prompts = check_prompts(frame.original_hw, points_xy, point_labels, boxes_xyxy)
        if mask_logits is not None:
            check_coarse(mask_logits, frame, num_prompts)
        sparse = embed_points(
            self.prompt_encoder, frame, points_xy=points_xy, point_labels=point_labels, boxes_xyxy=boxes_xyxy
        )
        dense = embed_coarse(self.prompt_encoder, self.runner, mask_logits)
        return decode_in_parts(self.decode_on(embedding, choice), sparse, dense, frame)


def check_coarse(mask_logits: Tensor, frame: Frame, num_prompts: int) -> None:
    """Refuse coarse masks that mean nothing.

    Raises:
        PromptError: They are not N maps over the canvas, or a logit is not finite.
    """
    expected = (num_prompts, *(side // 4 for side in frame.canvas_hw))
    if mask_logits.shape != expected:
        raise PromptError(f"mask_logits must be {expected}, got {tuple(mask_logits.shape)}")
    if not np.isfinite(mask_logits.numpy()).all():
        raise PromptError("mask_logits are not finite")


def embed_points(
    prompt_encoder: nn.Module,
    frame: Frame,
    *,
    points_xy: Tensor | None,
    point_labels: Tensor | None,
    boxes_xyxy: Tensor | None,
) -> Tensor:
    """Embed points and boxes that `check_prompts` has passed.

    Args:
        prompt_encoder: transformers' SamPromptEncoder or Sam2PromptEncoder.
        frame: How the image lies in the canvas.
        points_xy: (N, P, 2), image pixels.
        point_labels: (N, P).
        boxes_xyxy: (N, 4), image pixels.

    Returns:
        Tokens (N, T, 256).
    """
    if boxes_xyxy is not None:
        boxes_xyxy = frame.points_to_canvas(boxes_xyxy.float().view(1, -1, 2, 2)).view(1, -1, 4)
    sparse, _ = prompt_encoder(
        input_points=None if points_xy is None else frame.points_to_canvas(points_xy.float())[None],
        input_labels=None if point_labels is None else point_labels.long()[None],
        input_boxes=boxes_xyxy,
        input_masks=None,
    )
    tokens: Tensor = sparse[0]
    return tokens


def embed_coarse(prompt_encoder: nn.Module, runner: GraphRunner, coarse: Tensor | None) -> Tensor:
    """Embed coarse masks.

    Args:
        prompt_encoder: transformers' SamPromptEncoder or Sam2PromptEncoder.
        runner: By which engine.
        coarse: Logits over the canvas (N, h, w), or None.

    Returns:
        What they add to every cell of the embedding: (N, 256, h / 4, w / 4), or (1, 256, 1, 1) without masks.
    """
    if coarse is None:
        return prompt_encoder.no_mask_embed.weight[:, :, None, None]  # type: ignore[union-attr, index]
    module = prompt_encoder.mask_embed
    assert isinstance(module, nn.Module)
    # compiled too: the threads that PyTorch wakes for a convolution would slow the decoder down
    (dense,) = runner.run_rows("coarse", module, (), (coarse[:, None],), {})
    return dense


def decode_in_parts(decode: Decode, sparse: Tensor, dense: Tensor, frame: Frame) -> MaskerOutput:
    """Decode a few prompts at a time, so that memory does not grow with their number.

    Args:
        decode: Of a masker.
        sparse: (N, T, 256).
        dense: (N or 1, 256, h, w).
        frame: Of the image.
    """
    decoded = [
        decode(
            sparse[start : start + PROMPTS_PER_CALL],
            dense[start : start + PROMPTS_PER_CALL] if len(dense) > 1 else dense,
        )
        for start in range(0, len(sparse), PROMPTS_PER_CALL)
    ]
    masks, scores = (torch.cat([part[index] for part in decoded]) for index in range(2))
    return MaskerOutput(masks, scores, frame)


def decoder_on(runner: GraphRunner, name: str, module: nn.Module, of_image: tuple[Tensor, ...]) -> Decode:
    """Give what decodes prompts on an image by an engine.

    Args:
        runner: By which engine.
        name: Of the module.
        module: Takes what is of the image, then tokens (n, T, 256) and dense maps (n, 256, h, w).
        of_image: The same for all prompts; first the embedding (1, 256, h, w).
    """

    _, _, height, width = of_image[0].shape

    def decode(sparse: Tensor, dense: Tensor) -> tuple[Tensor, ...]:
        # The number of tokens stays free, not only for clicks: where it was compiled in, OpenVINO 2026.4 computed wrong
        # masks in bfloat16.
        prompts = (sparse, dense.expand(len(sparse), -1, height, width))
        return runner.run_rows(name, module, of_image, prompts, {len(of_image): (1,)})

    return decode
