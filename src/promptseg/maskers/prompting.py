"""From prompts in picture pixels to what SAM's decoders take; the same for both generations."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor, nn

from promptseg.errors import PromptError
from promptseg.maskers.base import Frame, MaskChoice, MaskerEmbedding, MaskerOutput, check_prompts

# Decoding needs about 25 MB a prompt at 1024 pixels.
PROMPTS_PER_CALL = 16

# From sparse tokens and dense maps of some prompts to mask logits (n, K, h, w) and scores (n, K).
Decode: TypeAlias = Callable[[Tensor, Tensor], tuple[Tensor, ...]]


class PromptedMasker(ABC):
    """What every SAM does with prompts; how it decodes them is its own."""

    @property
    @abstractmethod
    def prompt_encoder(self) -> nn.Module:
        """transformers' SamPromptEncoder or Sam2PromptEncoder."""

    @abstractmethod
    def decode_on(self, embedding: MaskerEmbedding, choice: MaskChoice) -> Decode:
        """Give what decodes prompts on an encoded picture."""

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
        sparse, dense = embed_prompts(
            self.prompt_encoder,
            embedding.frame,
            points_xy=points_xy,
            point_labels=point_labels,
            boxes_xyxy=boxes_xyxy,
            mask_logits=mask_logits,
        )
        return decode_in_parts(self.decode_on(embedding, choice), sparse, dense, embedding.frame)


def embed_prompts(
    prompt_encoder: nn.Module,
    frame: Frame,
    *,
    points_xy: Tensor | None,
    point_labels: Tensor | None,
    boxes_xyxy: Tensor | None,
    mask_logits: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Check N prompts and embed them.

    Args:
        prompt_encoder: transformers' SamPromptEncoder or Sam2PromptEncoder.
        frame: How the picture lies in the canvas.
        points_xy: (N, P, 2), picture pixels.
        point_labels: (N, P).
        boxes_xyxy: (N, 4), picture pixels.
        mask_logits: (N, h, w) over the canvas, a quarter of its sides.

    Returns:
        Sparse tokens (N, T, 256), and what the masks add to the embedding: (N, 256, h / 4, w / 4), or
        (1, 256, 1, 1) without masks.

    Raises:
        PromptError: As `maskers.base.Masker.segment` says.
    """
    num_prompts = check_prompts(frame.original_hw, points_xy, point_labels, boxes_xyxy)
    expected = (num_prompts, *(side // 4 for side in frame.canvas_hw))
    if mask_logits is not None and mask_logits.shape != expected:
        raise PromptError(f"mask_logits must be {expected}, got {tuple(mask_logits.shape)}")
    if mask_logits is not None and not bool(mask_logits.isfinite().all()):
        raise PromptError("mask_logits are not finite")
    if boxes_xyxy is not None:
        boxes_xyxy = frame.points_to_canvas(boxes_xyxy.float().view(1, -1, 2, 2)).view(1, -1, 4)
    sparse, dense = prompt_encoder(
        input_points=None if points_xy is None else frame.points_to_canvas(points_xy.float())[None],
        input_labels=None if point_labels is None else point_labels.long()[None],
        input_boxes=boxes_xyxy,
        input_masks=None if mask_logits is None else mask_logits[:, None],
    )
    # Without a mask it is the same vector everywhere, laid out for a square; the canvas may be none.
    return sparse[0], dense[:, :, :1, :1] if mask_logits is None else dense


def decode_in_parts(decode: Decode, sparse: Tensor, dense: Tensor, frame: Frame) -> MaskerOutput:
    """Decode a few prompts at a time, so that memory does not grow with their number.

    Args:
        decode: Of a masker.
        sparse: (N, T, 256).
        dense: (N or 1, 256, h, w).
        frame: Of the picture.
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
