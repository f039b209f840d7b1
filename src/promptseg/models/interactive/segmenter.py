"""Points, boxes and masks in, the masks of what they point at out: a masker as a segmenter."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from promptseg import weights
from promptseg.errors import PromptError
from promptseg.models.interactive.config import MaskerConfig
from promptseg.ops.resize import resize_map
from promptseg.prompts import Query
from promptseg.results import Instance
from promptseg.runtime.graph_runner import GraphRunner, Precision
from promptseg.sam.base import Frame, Masker, MaskerEmbedding
from promptseg.sam.features import pack_masker, unpack_masker
from promptseg.sam.geometric_prompts import POINTING_KINDS, Pointing, pointed_objects, read_pointing
from promptseg.sam.load import load_masker
from promptseg.sam.prompt_batching import ObjectMasks, ObjectPrompt, mask_objects
from promptseg.segmenter import Features, Prediction
from promptseg.weights import ReportProgress


def load_promptable(
    config: MaskerConfig, *, engine: str, offline: bool = False, progress: ReportProgress | None = None
) -> "PromptableSegmenter":
    """Load a masker as a segmenter; it runs on the CPU.

    Args:
        config: Which one.
        engine: "torch", "openvino" or "openvino-bf16".
        offline: Fetch nothing.
        progress: Told while weights are fetched.

    Raises:
        WeightsError: The weights can't be had.
    """
    if config.masker in weights.RECORDS:
        weights.resolve(config.masker, offline=offline, progress=progress)
    runner = None
    if engine != "torch":
        precision: Precision = "bf16" if engine == "openvino-bf16" else "f32"
        runner = GraphRunner("openvino", precision=precision, num_threads=torch.get_num_threads())
    return PromptableSegmenter(load_masker(config.masker, input_side=config.input_side, runner=runner, offline=offline))


class PromptableSegmenter:
    """Mask what points, boxes and masks point at.

    Whoever points at a thing says that it is there: presence is 1. How sure the masker is of a mask is the score of its
    instance. docs/clicks.md says what each prompt means.

    Args:
        masker: Draws the masks.
    """

    prompt_kinds = POINTING_KINDS
    mask_threshold = 0.5
    presence_threshold = 0.5

    def __init__(self, masker: Masker) -> None:
        self.masker = masker

    def encode_image(self, image_rgb: NDArray[np.uint8]) -> Features:
        """Encode an image, uint8, shape (H, W, 3)."""
        return pack_masker(self.masker.encode(image_rgb))

    @torch.inference_mode()
    def segment(self, features: Features, queries: Sequence[Query], size_hw: tuple[int, int]) -> Prediction:
        """Segment an encoded image of the given original size; N queries give N answers, in order.

        Raises:
            PromptError: A prompt is outside the image, or a query only says where its object is not.
        """
        embedding = unpack_masker(features)
        objects = [ask_for(query, read_pointing(query, size_hw), embedding.frame) for query in queries]
        masks = iter(mask_objects(self.masker, embedding, [each for asked in objects for each in asked]))
        answers = [[next(masks) for _ in asked] for asked in objects]
        return Prediction(
            mask_logits=stack_maps([merge(found) for found in answers], embedding.frame),
            presence=torch.ones(len(answers)),
            iou=torch.tensor([mean_score(found) for found in answers]),
            instances=tuple(tuple(draw(each, size_hw) for each in found) for found in answers),
        )

    @torch.inference_mode()
    def propose(self, features: Features, query: Query, size_hw: tuple[int, int]) -> Prediction:
        """Give all that the object of a query may be meant to be: a part, the whole, a group, ..., best first.

        Raises:
            PromptError: As `segment`, or the query points at more than one object.
        """
        return propose(self.masker, unpack_masker(features), query, size_hw)


def propose(masker: Masker, embedding: MaskerEmbedding, query: Query, size_hw: tuple[int, int]) -> Prediction:
    """Give a masker's candidates for the one object of a query, best first; see `PromptableSegmenter.propose`."""
    objects = ask_for(query, read_pointing(query, size_hw), embedding.frame)
    if len(objects) > 1:
        raise PromptError(f"{query.label!r} points at {len(objects)} objects: candidates are for one at a time")
    (found,) = mask_objects(masker, embedding, objects, choice="levels")
    candidates = [ObjectMasks(*one) for one in zip(found.mask_logits[:, None], found.scores[:, None], strict=True)]
    return Prediction(
        mask_logits=found.mask_logits,
        presence=torch.ones(len(candidates)),
        iou=found.scores,
        instances=tuple((draw(each, size_hw),) for each in candidates),
    )


def ask_for(query: Query, pointing: Pointing | None, frame: Frame) -> list[ObjectPrompt]:
    """Say which objects a query points at, one or more.

    Raises:
        PromptError: It has nothing that shows where one is.
    """
    objects = [] if pointing is None else pointed_objects(pointing, frame)
    if not objects:
        raise PromptError(
            f"{query.label!r} only says where the object is not: add a point on it, a box, a mask or a phrase"
        )
    return objects


def merge(found: Sequence[ObjectMasks]) -> Tensor:
    """Join the best masks of the objects of a query: logits, shape (h, w)."""
    return torch.stack([each.mask_logits[0] for each in found]).amax(0)


def mean_score(found: Sequence[ObjectMasks]) -> float:
    """What the masker expects of the best masks of a query's objects."""
    return float(torch.stack([each.scores[0] for each in found]).mean())


def stack_maps(maps: Sequence[Tensor], frame: Frame) -> Tensor:
    """Stack maps (h, w) to (N, h, w), also where there are none."""
    return torch.stack(list(maps)) if maps else torch.zeros(0, *frame.map_hw)


def draw(found: ObjectMasks, size_hw: tuple[int, int]) -> Instance:
    """Draw the best mask of an object at the image's size."""
    logits = resize_map(found.mask_logits[0].float().cpu().numpy(), size_hw)
    return Instance.from_mask(logits >= 0, float(found.scores[0]))
