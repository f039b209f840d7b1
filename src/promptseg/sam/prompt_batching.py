"""One record for each object to be masked, and the masks of many objects in few calls."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from promptseg.sam.base import MaskChoice, PromptableSegmenter, SamEmbedding

# Coarse logits are clipped here: the embedding of a coarse mask hardly changes beyond.
MAX_PROMPT_LOGIT = 8.0

NO_POINTS = np.zeros((0, 2))


@dataclass(frozen=True, eq=False)
class ObjectPrompt:
    """The prompt for one object; at least points or a box.

    Attributes:
        points_xy: Image pixels, shape (P, 2).
        on_object: Whether each point lies on the object, bool, shape (P,).
        box_xyxy: Around the object, image pixels, or None.
        mask_logits: A coarse mask, shape (h, w) = `Frame.map_hw`, above 0 where the object is, or None.
    """

    points_xy: NDArray[np.float64]
    on_object: NDArray[np.bool_]
    box_xyxy: tuple[float, float, float, float] | None = None
    mask_logits: NDArray[np.float32] | None = None

    @classmethod
    def in_box(cls, box_xyxy: tuple[float, float, float, float]) -> "ObjectPrompt":
        """Ask for the object in a box, image pixels."""
        return cls(NO_POINTS, np.zeros(0, dtype=np.bool_), box_xyxy)

    @property
    def is_ambiguous(self) -> bool:
        """Whether it is one point alone, which may mean a part, a whole object or a group."""
        return len(self.points_xy) == 1 and self.box_xyxy is None and self.mask_logits is None


@dataclass(frozen=True, eq=False)
class ObjectMasks:
    """Candidates for one object, the best scored first.

    Attributes:
        mask_logits: Shape (K, h, w) with (h, w) = `Frame.map_hw`; above 0 means object.
        scores: SAM's estimate of each mask's IoU, in [0, 1], shape (K,).
    """

    mask_logits: NDArray[np.float32]
    scores: NDArray[np.float32]


def mask_objects(
    sam: PromptableSegmenter,
    embedding: SamEmbedding,
    prompts: Sequence[ObjectPrompt],
    *,
    choice: MaskChoice | None = None,
) -> list[ObjectMasks]:
    """Mask objects of one image; all whose prompts have the same form are one call of SAM.

    Args:
        sam: Draws the masks.
        embedding: Of the image.
        prompts: One for each object.
        choice: As `sam.base.PromptableSegmenter.segment`; None: three candidates for a point alone, else one.

    Returns:
        One for each prompt, in order.
    """
    alike = defaultdict(list)
    for index, prompt in enumerate(prompts):
        chosen: MaskChoice = choice or ("levels" if prompt.is_ambiguous else "single")
        form = (chosen, len(prompt.points_xy), prompt.box_xyxy is None, prompt.mask_logits is None)
        alike[form].append(index)
    found: dict[int, ObjectMasks] = {}
    for (chosen, *_), indexes in alike.items():
        masks = _mask_alike(sam, embedding, [prompts[index] for index in indexes], chosen)
        found.update(zip(indexes, masks, strict=True))
    return [found[index] for index in range(len(prompts))]


def _mask_alike(
    sam: PromptableSegmenter, embedding: SamEmbedding, prompts: Sequence[ObjectPrompt], choice: MaskChoice
) -> list[ObjectMasks]:
    frame = embedding.frame
    first = prompts[0]
    points_xy = point_labels = boxes_xyxy = mask_logits = None
    if len(first.points_xy):
        points_xy = np.stack([prompt.points_xy for prompt in prompts])
        point_labels = np.stack([prompt.on_object for prompt in prompts]).astype(np.int64)
    if first.box_xyxy is not None:
        boxes_xyxy = np.array([prompt.box_xyxy for prompt in prompts], dtype=np.float64)
    if first.mask_logits is not None:
        coarse = np.stack([prompt.mask_logits for prompt in prompts if prompt.mask_logits is not None])
        canvas_hw = (frame.canvas_hw[0] // 4, frame.canvas_hw[1] // 4)
        mask_logits = frame.maps_to_canvas(coarse.clip(-MAX_PROMPT_LOGIT, MAX_PROMPT_LOGIT), canvas_hw)
    output = sam.segment(
        embedding,
        points_xy=points_xy,
        point_labels=point_labels,
        boxes_xyxy=boxes_xyxy,
        mask_logits=mask_logits,
        choice=choice,
    )
    maps = frame.maps_to_image(output.mask_logits, frame.map_hw)
    scores = output.scores.clip(0.0, 1.0)
    order = np.argsort(-scores, axis=1, kind="stable")
    return [ObjectMasks(one[best], score[best]) for one, score, best in zip(maps, scores, order, strict=True)]
