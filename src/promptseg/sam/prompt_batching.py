"""One record for each object that a masker is asked for, and the masks of many in few calls."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from promptseg.sam.base import MaskChoice, Masker, MaskerEmbedding

# Logits beyond this say no more to the mask prompt encoder.
MAX_PROMPT_LOGIT = 8.0

NO_POINTS = np.zeros((0, 2))


@dataclass(frozen=True, eq=False)
class ObjectPrompt:
    """What tells a masker of one object; at least points or a box.

    Attributes:
        points_xy: Image pixels, shape (P, 2).
        on_object: Whether each point lies on the object, bool, shape (P,).
        box_xyxy: Around the object, image pixels, or None.
        mask_logits: A coarse mask, shape (h, w) = `Frame.map_hw`, above 0 where the object is, or None.
    """

    points_xy: NDArray[np.float64]
    on_object: NDArray[np.bool_]
    box_xyxy: tuple[float, float, float, float] | None = None
    mask_logits: Tensor | None = None

    @property
    def is_ambiguous(self) -> bool:
        """Whether it is one point alone, which may mean a part, a thing or a group."""
        return len(self.points_xy) == 1 and self.box_xyxy is None and self.mask_logits is None


@dataclass(frozen=True, eq=False)
class ObjectMasks:
    """Candidates for one object, the best scored first.

    Attributes:
        mask_logits: Shape (K, h, w) with (h, w) = `Frame.map_hw`; above 0 means object.
        scores: The masker's estimate of each mask's IoU, in [0, 1], shape (K,).
    """

    mask_logits: Tensor
    scores: Tensor


def mask_objects(
    masker: Masker, embedding: MaskerEmbedding, prompts: Sequence[ObjectPrompt], *, choice: MaskChoice | None = None
) -> list[ObjectMasks]:
    """Mask objects of one image; all that are asked for in the same form are one call of the masker.

    Args:
        masker: Any masker.
        embedding: Of the image.
        prompts: One for each object.
        choice: As `sam.base.Masker.segment`; None: three candidates for a point alone, else one.

    Returns:
        One for each prompt, in order.
    """
    alike = defaultdict(list)
    for index, prompt in enumerate(prompts):
        asked: MaskChoice = choice or ("levels" if prompt.is_ambiguous else "single")
        form = (asked, len(prompt.points_xy), prompt.box_xyxy is None, prompt.mask_logits is None)
        alike[form].append(index)
    found: dict[int, ObjectMasks] = {}
    for (asked, *_), indices in alike.items():
        masks = _mask_alike(masker, embedding, [prompts[index] for index in indices], asked)
        found.update(zip(indices, masks, strict=True))
    return [found[index] for index in range(len(prompts))]


def _mask_alike(
    masker: Masker, embedding: MaskerEmbedding, prompts: Sequence[ObjectPrompt], choice: MaskChoice
) -> list[ObjectMasks]:
    frame = embedding.frame
    first = prompts[0]
    points_xy = point_labels = boxes_xyxy = mask_logits = None
    if len(first.points_xy):
        points_xy = torch.from_numpy(np.stack([prompt.points_xy for prompt in prompts])).float()
        point_labels = torch.from_numpy(np.stack([prompt.on_object for prompt in prompts])).float()
    if first.box_xyxy is not None:
        boxes_xyxy = torch.tensor([prompt.box_xyxy for prompt in prompts])
    if first.mask_logits is not None:
        told = np.stack([prompt.mask_logits.numpy() for prompt in prompts if prompt.mask_logits is not None])
        canvas_hw = (frame.canvas_hw[0] // 4, frame.canvas_hw[1] // 4)
        clipped = torch.from_numpy(told.clip(-MAX_PROMPT_LOGIT, MAX_PROMPT_LOGIT))
        mask_logits = frame.maps_to_canvas(clipped, canvas_hw)
    output = masker.segment(
        embedding,
        points_xy=points_xy,
        point_labels=point_labels,
        boxes_xyxy=boxes_xyxy,
        mask_logits=mask_logits,
        choice=choice,
    )
    maps = frame.maps_to_image(output.mask_logits, frame.map_hw)
    scores, order = output.scores.float().clamp(0.0, 1.0).sort(dim=1, descending=True, stable=True)
    return [ObjectMasks(one[best], score) for one, score, best in zip(maps, scores, order, strict=True)]
